"""What a folder brings: read within limits, and checked before anything is done with it."""

import contextlib
import ssl
import tempfile
from pathlib import Path
from typing import NamedTuple

from agent.api.device_token import Token
from agent.config import loader as settings
from agent.config.schema import Config
from agent.errors import AgentError, CredentialError
from agent.small_file import UnusableFile, is_regular, read_bytes
from agent.token.file import token_of

CONFIG, TOKEN, CERTIFICATE = "config.toml", "device-token", "ca.pem"
NAMES = (CONFIG, TOKEN, CERTIFICATE)
LARGEST = {CONFIG: 256 << 10, TOKEN: 4096, CERTIFICATE: 512 << 10}
"""Bytes of each that are read."""


class RefusedOffer(AgentError):  # noqa: N818 - what became of it
    """What a folder brings is not taken; the message is a sentence a line."""


class Offer(NamedTuple):
    """What a folder brings; None for what it does not."""

    config: bytes | None
    token: Token | None
    certificate: bytes | None


def read_offer(folder: Path) -> Offer:
    """Return what a folder brings, each part right by itself.

    Raises:
        RefusedOffer: something of it cannot be read, is not whole, or is wrong.
    """
    contents: dict[str, bytes | None] = {}
    wrong: list[str] = []
    for name in NAMES:
        contents[name] = None
        try:
            contents[name] = _read(folder, name)
        except _Wrong as error:
            wrong.append(f"{name}: {error}")
    token: Token | None = None
    if (data := contents[TOKEN]) is not None:
        try:
            token = token_of(data)
        except CredentialError as error:
            wrong.append(f"{TOKEN}: {error}")
    if (data := contents[CONFIG]) is not None:
        wrong += _mistakes(data)
    if (data := contents[CERTIFICATE]) is not None and not _holds_certificate(data):
        wrong.append(f"{CERTIFICATE}: holds no certificate in PEM; copy the file of your API's authority")
    if wrong:
        raise RefusedOffer("\n".join(wrong))
    return Offer(contents[CONFIG], token, contents[CERTIFICATE])


class _Wrong(Exception):  # noqa: N818 - what a file is
    """The end of a sentence about a file."""


def _read(folder: Path, name: str) -> bytes | None:
    try:
        data = read_bytes(folder / name, LARGEST[name])
    except FileNotFoundError:
        if is_regular(folder / f"{name}.txt"):
            raise _Wrong(f"is called {name}.txt here; rename it to {name}") from None
        return None
    except UnusableFile as error:
        raise _Wrong(f"{error}; write it anew") from error
    except OSError as error:
        raise _Wrong(
            f"cannot be read ({error.strerror}); write it anew, and leave the stick in place"
        ) from error
    if not data.strip(b"\0 \t\r\n"):
        raise _Wrong("is empty; write it anew")
    is_utf_16 = data[:2] in {b"\xff\xfe", b"\xfe\xff"}
    if b"\0" in data and not is_utf_16:
        raise _Wrong(
            "is not whole (there are zeros in it); write it anew, and eject the stick before you pull it"
        )
    return data


def _mistakes(data: bytes) -> list[str]:
    """Return a sentence for each thing that is wrong with settings; a file that may lack its end is."""
    if not data.endswith(b"\n"):
        return [
            f"{CONFIG}: does not end with a new line, so its end may be missing; add one and save it again"
        ]
    return parsed(data)[1]


def parsed(data: bytes) -> tuple[Config | None, list[str]]:
    """Return settings, or None and a sentence for each thing that is wrong, as ``config check`` has them."""
    with tempfile.TemporaryDirectory(prefix="recorder-agent-") as folder:
        file = Path(folder) / CONFIG
        file.write_bytes(data)
        if sentences := settings.check(file):
            return None, [sentence.replace(str(file), CONFIG) for sentence in sentences]
        return settings.load(file, {}).config, []


def _holds_certificate(data: bytes) -> bool:
    with contextlib.suppress(ssl.SSLError, ValueError):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=data.decode("ascii"))
        return bool(context.get_ca_certs() or context.cert_store_stats()["x509"])
    return False
