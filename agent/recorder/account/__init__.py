"""The account of time: each second is recorded, missing or not wanted, over restarts, gaps and days.

``memory`` is what is remembered from run to run, ``downtime`` notes the absence before a start (``earlier`` finds where
recording ended), ``daybook`` counts days, ``days_now`` and ``open_days`` those that are not over.
"""
