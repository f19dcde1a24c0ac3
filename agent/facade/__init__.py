"""Both processes as one, for command line and doctor: who runs is asked, for who does not the files speak."""
