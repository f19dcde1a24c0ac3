"""The sandbox as a server: its routes, its answers, what it logs, and TLS."""
