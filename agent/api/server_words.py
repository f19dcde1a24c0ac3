"""The server's own words, made fit for a log, a sidecar and a person: one line, short, without secrets."""

import re
from html import unescape
from typing import NamedTuple

from agent import bounds
from agent.api.responses import Fields

LONGEST_WORDS = 300
_LONGEST_CODE = 64

_HIDDEN = "[hidden]"
_USER_INFO = re.compile(r"//[^/\s@\"'<>]+@")
_QUERY = re.compile(r"\?[^\s\"'<>?]*=[^\s\"'<>]*")
_SECRETS = re.compile(
    r"""dtok_[\w-]+
      | \bey[JI][\w-]{8,2048}(?:\.[\w-]*){1,2}
      | \bbearer\s+[^\s"'<>]+
      | \b(?:x-amz-[\w-]{1,40}|signature|credential|awsaccesskeyid|(?:device_|grant_|access_)?token)
        ["']?\s*[=:]\s*["']?[^\s"'<>&,]+""",
    re.VERBOSE | re.IGNORECASE,
)
_TAG = re.compile(r"<[^>]*>?")
_CODE = re.compile(r"[^A-Za-z0-9._-]+")


class Words(NamedTuple):
    """What an error body says."""

    code: str | None
    """The server's code, of ``[A-Za-z0-9._-]``, at most 64 characters."""
    text: str
    """The message, cleaned; empty when there is none."""

    def __str__(self) -> str:
        """Return the tail of a sentence: `` (code: text)``, or nothing."""
        said = ": ".join(part for part in (self.code, self.text) if part)
        return f" ({said})" if said else ""


def clean(text: str, *, secret: str = "", longest: int = LONGEST_WORDS) -> str:
    """Return ``text`` as one line of at most ``longest`` characters, without secrets and URL queries.

    What lies beyond ``bounds.TEXT_CHARS`` is cut off first: every pattern sees a short text.
    """
    text = text[: bounds.TEXT_CHARS]
    visible = "".join(char if char.isprintable() else " " if char.isspace() else "" for char in text)
    if secret:
        visible = visible.replace(secret, _HIDDEN)
    visible = _USER_INFO.sub("//", visible)
    visible = _QUERY.sub("?…", visible)
    visible = " ".join(_SECRETS.sub(_HIDDEN, visible).split())
    return visible if len(visible) <= longest else visible[: longest - 1] + "…"


def words_of(body: bytes, parsed: Fields | None, *, secret: str = "") -> Words:
    """Return the code and message of an error body in any shape of api.md section 5, or of S3's XML."""
    code: str | None = None
    if parsed is not None:
        code, message = _json_words(parsed)
    else:
        text = body[: bounds.PAGE_CHARS].decode("utf-8", errors="replace")
        code = xml_code(text)
        message = (
            _page_words(text) if code is None else unescape(_between(text, "<Message>", "</Message>") or "")
        )
    return Words(_clean_code(code, secret), clean(message, secret=secret))


def xml_code(text: str) -> str | None:
    """Return the code of an error of S3, None for any other text."""
    code = (_between(text, "<Code>", "</Code>") or "").strip()
    return code if bounds.is_word(code) and not _CODE.search(code) else None


def _json_words(parsed: Fields) -> tuple[str | None, str]:
    inner = parsed.inner("error") or parsed
    code = inner.text("code") or inner.text("type")
    if code is None and (number := inner.number("code", bounds.RATE_LIMIT)) is not None:
        code = str(number)
    text = parsed.words("error") or inner.words("message")
    param = inner.text("param")
    return code, f"{text} [{param}]" if param else text


def _page_words(text: str) -> str:
    if "<" not in text:
        return text
    start = text.lower().find("<title")
    if start >= 0:
        title = _between(text[start:], ">", "</")
        if title is not None:
            return unescape(title)
    for begin, end in (("<script", "</script>"), ("<style", "</style>"), ("<!--", "-->")):
        text = _without(text, begin, end)
    return unescape(_TAG.sub(" ", text))


def _between(text: str, begin: str, end: str) -> str | None:
    """Return what stands between the first ``begin`` and the next ``end``; None when one of them is missing."""
    _, found, rest = text.partition(begin)
    inner, closed, _ = rest.partition(end)
    return inner if found and closed else None


def _without(text: str, begin: str, end: str) -> str:
    """Return a text without what stands between each ``begin`` and the next ``end``, in any case."""
    kept: list[str] = []
    small, at = text.lower(), 0
    while (start := small.find(begin, at)) >= 0:
        kept.append(text[at:start])
        stop = small.find(end, start)
        at = len(text) if stop < 0 else stop + len(end)
    return " ".join([*kept, text[at:]])


def _clean_code(code: str | None, secret: str) -> str | None:
    if code is None:
        return None
    return _CODE.sub("_", clean(code, secret=secret, longest=_LONGEST_CODE)).strip("_") or None
