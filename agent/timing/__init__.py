"""What time it is: the sample clock, whether samples keep up with time, and the wall clock as it becomes known."""
