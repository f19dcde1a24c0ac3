"""What a person sees and presses on the device: the status LED and the button.

Invariants
    B1  The LED shows the most serious active condition (``status.condition``), and nothing a process only intends.
    B2  A pattern is played by the recorder itself, so that one that hangs does not look alive.
    B3  An LED or a pin that refuses is logged once and left alone: recording does not depend on it.
"""
