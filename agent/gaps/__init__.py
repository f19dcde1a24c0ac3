"""The gap log: every second that should have been recorded and was not, and the one open gap of a run."""
