"""The recordings API as api.md has it: one call at a time, one kept-alive connection, every answer read with distrust.

Invariants
    K1  A call ends with what it asked for, or with one of the errors in ``errors``: what has gone wrong, never how.
    K2  The token goes to the API's host alone, an upload URL to storage alone; redirects are not followed.
    K3  Of an answer nothing is taken on trust: its length, its types and every URL in it are checked before use.
    K4  Every call has an end: time-outs for connecting, reading and writing, one for the whole answer, and ``abort``.

``client`` makes the calls, ``uploads`` sends files to storage. ``verdicts`` says what an answer means, ``results`` what
it has brought; ``responses`` and ``headers`` read it. ``transport/`` moves the bytes; ``admission`` is what a call
passes first (pauses, budget and pace: ``sync/pacing``).
"""
