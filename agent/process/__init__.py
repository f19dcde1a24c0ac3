"""What both processes are made of: the state directory and its locks, supervised threads, systemd's notifications."""
