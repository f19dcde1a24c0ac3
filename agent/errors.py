"""Errors that a person may meet: one sentence each, saying what, why, and what to do.

    AgentError            exit 1
    ├── ConfigError       exit 78   the configuration file is wrong
    ├── MicrophoneError   exit 69   no microphone, or it cannot be opened
    ├── StillWaiting      exit 75   something still waits: offline, or backing off
    └── CredentialError   exit 77   the device token is missing, unreadable or refused

Wrong usage of the command line (exit 2) is click's own ``UsageError``.
"""


class AgentError(Exception):
    """Base of all errors whose message is meant for a person: what and why, and in ``hint`` what to do.

    As a text both are one sentence, ``message; hint``.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint


def sentence_of(sentence: str, hint: str) -> AgentError:
    """Return the error that a sentence was made of, where its hint has come with it."""
    return AgentError(sentence.removesuffix(f"; {hint}") if hint else sentence, hint)


class ConfigError(AgentError):
    """The configuration cannot be used as it is."""

    exit_code = 78


class MicrophoneError(AgentError):
    """There is no microphone, or it cannot be opened."""

    exit_code = 69


class StillWaiting(AgentError):  # noqa: N818 - a state that is reported, not a malfunction
    """Something could not be delivered yet and will be tried again."""

    exit_code = 75


class CredentialError(AgentError):
    """The device token is missing, unreadable, or was refused."""

    exit_code = 77
