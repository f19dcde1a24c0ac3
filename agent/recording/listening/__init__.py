"""What is listened to while nothing is recorded: for a voice, or to keep the last minutes."""
