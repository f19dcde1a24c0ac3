"""What other programs are given: figures for Prometheus, and the owner's hook."""
