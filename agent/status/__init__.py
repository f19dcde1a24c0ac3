"""One status, shown everywhere: LED, ``systemctl status``, heartbeat, ``status --json`` and the log.

Invariants
    S1  There is one ``Board`` in each process; everybody reports to it, and what is shown comes from its snapshot.
    S2  A snapshot is immutable: a reader never sees half a change.
    S3  What is shown is what is: a state is reported when it is entered, not when it is intended.
    S4  ``recorder-status.json`` and ``delivery.json`` are ``process_documents``: typed when they are written and when
        they are read; the other process's is read as a stranger's.
    S5  ``status --json`` is ``status_document``, made by ``status_now`` alone; whoever shows a status reads that.
"""
