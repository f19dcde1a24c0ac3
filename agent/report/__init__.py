"""The days as a person sees them: rows of ``report --json``, bars on a terminal, and one HTML file."""
