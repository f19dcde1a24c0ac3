"""Errors that a person may meet: one sentence each, saying what, why, and what to do.

    AgentError            exit 1
    ├── ConfigError       exit 78   the configuration file is wrong
    ├── MicrophoneError   exit 69   no microphone, or it cannot be opened
    ├── StillWaiting      exit 75   something still waits: offline, or backing off
    └── CredentialError   exit 77   the device token is missing, unreadable or refused

Wrong usage of the command line (exit 2) is click's own ``UsageError``.
"""


class AgentError(Exception):
    """Base of all errors whose message is meant for a person."""

    exit_code = 1


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
