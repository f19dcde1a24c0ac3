"""The recordings API as api.md has it: one call at a time, one kept-alive connection, every answer read with distrust.

A call ends with what it asked for, or with one of the errors in ``failures``: what has gone wrong, never how.
"""
