"""What the machine can tell and do: boot id, clock state, sound cards, storage, battery, network.

Nothing here knows what a recording is. Roots (``/sys``, ``/proc``) are handed in, so that tests can build their own.
"""
