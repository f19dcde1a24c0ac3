"""The SQLite index of the outbox: rows that can be rebuilt from the files, and all that only the deliverer changes.

``table`` keeps rows, ``outbox`` changes row and files together, ``arrivals`` follows files that come and go meanwhile,
``reconcile`` and ``repair`` bring rows and files together again after whatever happened, ``retention`` prunes what was
delivered, ``actions`` are what a person asks of the queue.
"""
