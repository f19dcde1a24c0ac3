"""What time it is: the sample clock, whether samples keep up with time, and the wall clock as it becomes known.

Invariants
    T1  Order and length come from the boot clock alone; the wall clock only dates what happened.
    T2  A wall time carries who vouches for it: ``ntp``, ``server`` or ``unsynchronized``. It is corrected as long as
        nobody outside has been told, and never afterwards.
    T3  One answer of a server proves nothing: a second one must agree, or the machine's own clock.
"""
