"""One examination: checks in their order, each with its finding, and what is skipped because of another."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from agent.errors import AgentError
from agent.facade.context import Session
from agent.hints import typed
from agent.process.state_lock import NoRight


class Health(StrEnum):
    """How something is."""

    HEALTHY = "healthy"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


class Finding(NamedTuple):
    """What a check found: one sentence, and what to do about it."""

    state: Health
    message: str
    hint: str = ""


class Check(NamedTuple):
    """A check, and the names of those without which it makes no sense."""

    name: str
    look: Callable[[Session], Finding]
    needs: tuple[str, ...] = ()


class Result(NamedTuple):
    """One element of ``doctor --json``."""

    check: str
    state: str
    message: str
    hint: str


def healthy(message: str) -> Finding:
    """All is well."""
    return Finding(Health.HEALTHY, message)


def warning(message: str, hint: str) -> Finding:
    """It works, but not well."""
    return Finding(Health.WARNING, message, hint)


def critical(message: str, hint: str) -> Finding:
    """It does not work."""
    return Finding(Health.CRITICAL, message, hint)


def unknown(message: str, hint: str = "") -> Finding:
    """It cannot be told here."""
    return Finding(Health.UNKNOWN, message, hint)


def skipped(message: str) -> Finding:
    """There is no point in looking."""
    return Finding(Health.SKIPPED, message)


def examine(session: Session, checks: Sequence[Check]) -> Iterator[Result]:
    """Make the checks in their order; an error of a check is its finding."""
    failed: set[str] = set()
    for check in checks:
        cause = next((name for name in check.needs if name in failed), None)
        if cause is not None:
            finding = skipped(f"not looked at: {cause} comes first")
            failed.add(check.name)
        else:
            finding = _look(check, session)
            if finding.state is Health.CRITICAL:
                failed.add(check.name)
        yield Result(check.name, finding.state.value, finding.message, finding.hint)


def _look(check: Check, session: Session) -> Finding:
    try:
        return check.look(session)
    except NoRight:
        return skipped(f"only the owner of {session.state.path} and root may look: {typed('doctor')}")
    except AgentError as error:
        return critical(error.message, error.hint)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return critical(
            f"the system refused{where}: {error.strerror or error}", "free or repair what it names"
        )
    except sqlite3.Error as error:
        return critical(
            f"the index cannot be looked at: {error}", "stop what else has it open, and look again"
        )
