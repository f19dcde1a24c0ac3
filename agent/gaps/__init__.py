"""The gap log: every second that should have been recorded and was not, and the one open gap of a run.

Invariants
    G1  A gap is written, durable, when it opens, and again when it closes: a kill in between leaves its beginning.
    G2  The newest line of a gap counts; a line that cannot be read costs that one gap.
    G3  What lies inside a recording (silence in the place of lost samples) names it, and is no part of the sum.
"""
