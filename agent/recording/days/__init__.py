"""The sums of days, and the gap log as they are counted from it."""
