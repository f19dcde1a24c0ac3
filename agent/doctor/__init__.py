"""The doctor: looks at everything the recorder needs, and says the one right thing first.

Invariants
    H1  A check changes nothing: it writes no more than a temporary file in the state directory, and that is gone after.
        The one exception is asked for by name: ``--record`` makes and delivers one test recording.
    H2  Checks stand in the order of cause and effect; what a failed check makes pointless is *skipped*, so that the
        first critical line is the cause and not one of its effects.
    H3  Beside a running recorder the microphone is not opened a second time: the recorder is asked.

States: healthy · warning (works, but not well) · critical (does not work) · unknown (cannot be told here) · skipped.
"""
