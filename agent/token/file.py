"""The file that holds a device token."""

import codecs
import os
import shlex
import stat
from pathlib import Path

from agent.api.device_token import FORMAT, Token
from agent.errors import CredentialError
from agent.hints import typed

MEND = f"give the file back to the owner of the state directory, or run {typed('token set')}"
HOW = f"run {typed('token set')}"

_LARGEST = 4096
_NONE = b"\n"
"""What stands for no token where a file has to be."""


def read_token(path: Path, *, ours: bool) -> Token | None:
    """Return the token in a file, None when there is no file; CredentialError never tells what is in it.

    An empty line in a file that is not ours is none: the unit hands it over where systemd has no credential.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CredentialError(
            f"the device token in {path} cannot be read ({error.strerror})", MEND
        ) from error
    try:
        _check(path, os.fstat(descriptor).st_mode, ours=ours)
        content = os.read(descriptor, _LARGEST + 1)
    except OSError as error:
        raise CredentialError(
            f"the device token in {path} cannot be read ({error.strerror})", MEND
        ) from error
    finally:
        os.close(descriptor)
    if content == _NONE and not ours:
        return None
    return token_of(content, str(path), HOW)


def token_of(content: bytes, file: str = "it", hint: str = "write it anew") -> Token:
    """Return the token in the contents of a file of anybody's; CredentialError never tells what is in it."""
    text = _decoded(content).strip()
    if not text:
        raise CredentialError(f"{file} is empty, and should hold the device token", hint)
    if len(content) > _LARGEST or not FORMAT.fullmatch(text):
        raise CredentialError(
            f"{file} holds no device token, which begins with dtok_ and has no blanks", hint
        )
    return Token(text)


def _decoded(content: bytes) -> str:
    """Return the text of a file as any editor may have saved it: with a byte order mark, in UTF-8 or UTF-16."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    return content.removeprefix(codecs.BOM_UTF8).decode("ascii", "replace")


def _check(path: Path, mode: int, *, ours: bool) -> None:
    if not stat.S_ISREG(mode):
        raise CredentialError(f"{path} is not a file, and should hold the device token", HOW)
    if ours and mode & 0o077:
        raise CredentialError(
            f"others can read the device token in {path} (mode {stat.S_IMODE(mode):04o})",
            f"`chmod 600 {shlex.quote(str(path))}`, and ask for a new token if they should not have it",
        )
