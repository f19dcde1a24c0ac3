"""What goes over the sockets: one JSON object a line, and the door that each line passes.

The asking side sends a ``Request``; the process answers with any number of ``{"event": …, …}`` and ends with
``{"result": …}`` or ``{"error": sentence, "hint": what to do, "exit_code": n}``.
"""

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from agent import text
from agent.bounds import MOST_DAYS, Text, Word
from agent.errors import AgentError
from agent.hints import restart

REQUEST_BYTES = 1 << 16
"""Of one request, its line's end included."""
ANSWER_BYTES = 1 << 22
"""Of one line of an answer: some thousand rows."""
SENTENCE_CHARS = 2048
LONGEST_SECONDS = 10.0**7
LONGEST_TOKEN = 8192
USAGE = 2
"""The exit code of a request that cannot be meant."""

Message = dict[str, Any]


class Request(msgspec.Struct, frozen=True):
    """One request of a stranger; each command reads what concerns it, and looks at its own ranges."""

    command: Word
    name: Text | None = None
    text: Text | None = None
    seconds: Annotated[float, Meta(ge=0, le=LONGEST_SECONDS)] | None = None
    metadata: dict[str, Any] = {}
    ids: list[Word] | None = None
    days: Annotated[int, Meta(ge=1, le=MOST_DAYS)] = 7
    """How many days a report is asked for."""
    on: bool = True
    detached: bool = False
    from_now: bool = False
    dry_run: bool = False
    same_owner: bool = False
    any_network: bool = False
    token: Annotated[str, Meta(max_length=LONGEST_TOKEN)] | None = None
    """A device token to set: it is shown nowhere."""

    def __repr__(self) -> str:
        return f"Request(command={self.command!r}, …)"


class RequestRefusedError(AgentError):
    """A line that is no request of ours."""

    exit_code = USAGE


_REQUEST = msgspec.json.Decoder(Request)
_MESSAGE = msgspec.json.Decoder(Message)


def request_of(line: bytes) -> Request:
    """Return the request in a line.

    Raises:
        RequestRefusedError: it is none, or a value is of a wrong type or beyond its limit.
    """
    try:
        return _REQUEST.decode(line)
    except msgspec.ValidationError as error:
        raise RequestRefusedError(
            f"that cannot be asked ({text.cut(str(error), SENTENCE_CHARS)})", "see which fields a request has"
        ) from error
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, too deep, too many digits
        raise RequestRefusedError("that was not a JSON object on one line", "send one") from error


def message_of(line: bytes) -> Message:
    """Return the answer in a line; what is no UTF-8 is replaced.

    Raises:
        AgentError: it is none.
    """
    try:
        return _MESSAGE.decode(line.decode(errors="replace"))
    except (ValueError, RecursionError) as error:
        raise AgentError("what answers is no recorder-agent of this version", restart()) from error


def encoded(message: Message) -> bytes:
    """Return a message as one line; half characters and paths that are no UTF-8 are replaced."""
    return text.encoded(message) + b"\n"


def lines(chunks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """Yield what arrives, a line at a time; ends with an overlong line."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while (end := buffer.find(b"\n")) >= 0:
            yield bytes(buffer[:end])
            del buffer[: end + 1]
        if len(buffer) > limit:
            return
