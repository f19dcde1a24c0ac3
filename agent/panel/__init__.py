"""What a person sees and presses on the board: the status LED and the button."""
