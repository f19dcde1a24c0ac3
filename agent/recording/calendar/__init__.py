"""When the schedule wants a recording: windows, lines like cron's, and the sun."""
