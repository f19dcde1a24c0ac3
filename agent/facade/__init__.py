"""Both processes as one, for the command line and the doctor: who runs is asked, for who does not run the files speak."""
