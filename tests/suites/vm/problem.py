"""Why the suite cannot run here."""


class CannotRunError(Exception):
    """Something that the suite needs is not there; the message says what, and what to do."""
