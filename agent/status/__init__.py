"""One status, shown everywhere: LED, ``systemctl status``, heartbeat, ``status --json`` and the log.

Invariants
    S1  There is one ``Board`` per process; everybody reports to it, and whatever is shown is derived from its snapshot.
    S2  A snapshot is immutable: a reader never sees half a change.
    S3  What is shown is what is: a state is reported when it is entered, not when it is intended.
"""
