"""The SQLite index of the outbox: rows that can be rebuilt from the files, and all that only the deliverer changes.

``store`` keeps rows, ``outbox`` changes row and files together, ``reconcile`` and ``repair`` bring them together again,
``retention`` prunes what was delivered, ``actions`` are what a person asks of the queue.
"""
