"""The server's own words, made fit for a log, a sidecar and a person: one line, short, without secrets."""

import re
from collections.abc import Mapping
from html import unescape
from typing import Any, NamedTuple

LONGEST_WORDS = 300
_LONGEST_CODE = 64
_LONGEST_LOOK = 16_384  # what follows in an error body is never shown

_HIDDEN = "[hidden]"
_USER_INFO = re.compile(r"//[^/\s@\"'<>]+@")
_QUERY = re.compile(r"\?[^\s\"'<>?]*=[^\s\"'<>]*")
_SECRETS = re.compile(
    r"""dtok_[\w-]+
      | \bey[JI][\w-]{8,}(?:\.[\w-]*){1,2}
      | \bbearer\s+[^\s"'<>]+
      | \b(?:x-amz-[\w-]+|signature|credential|awsaccesskeyid|(?:device_|grant_|access_)?token)
        ["']?\s*[=:]\s*["']?[^\s"'<>&,]+""",
    re.VERBOSE | re.IGNORECASE,
)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_UNSEEN_MARKUP = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|$)|<!--.*?(?:-->|$)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]*>?")
_XML_CODE = re.compile(r"<Code>\s*([A-Za-z0-9._-]+)\s*</Code>")
_XML_MESSAGE = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)
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
    """Return ``text`` as one line of at most ``longest`` characters, without secrets and URL queries."""
    visible = "".join(char if char.isprintable() else " " if char.isspace() else "" for char in text)
    if secret:
        visible = visible.replace(secret, _HIDDEN)
    visible = _USER_INFO.sub("//", visible)
    visible = _QUERY.sub("?…", visible)
    visible = " ".join(_SECRETS.sub(_HIDDEN, visible).split())
    return visible if len(visible) <= longest else visible[: longest - 1] + "…"


def words_of(body: bytes, parsed: Mapping[str, Any] | None, *, secret: str = "") -> Words:
    """Return the code and message of an error body in any shape of api.md section 5, or of S3's XML."""
    code: object = None
    if parsed is not None:
        code, message = _json_words(parsed)
    else:
        text = body[:_LONGEST_LOOK].decode("utf-8", errors="replace")
        if found := _XML_CODE.search(text):
            code = found[1]
            said = _XML_MESSAGE.search(text)
            message = unescape(said[1]) if said else ""
        else:
            message = _page_words(text)
    return Words(_clean_code(code, secret), clean(message[:_LONGEST_LOOK], secret=secret))


def _json_words(parsed: Mapping[str, Any]) -> tuple[object, str]:
    error = parsed.get("error")
    inner = error if isinstance(error, Mapping) else parsed
    code = inner.get("code") or inner.get("type")
    message = error if isinstance(error, str) else inner.get("message")
    text = message if isinstance(message, str) else ""
    param = inner.get("param")
    return code, f"{text} [{param}]" if isinstance(param, str) and param else text


def _page_words(text: str) -> str:
    if "<" not in text:
        return text
    title = _TITLE.search(text)
    return unescape(title[1] if title else _TAG.sub(" ", _UNSEEN_MARKUP.sub(" ", text)))


def _clean_code(code: object, secret: str) -> str | None:
    if isinstance(code, bool) or not isinstance(code, str | int):
        return None
    return _CODE.sub("_", clean(str(code), secret=secret, longest=_LONGEST_CODE)).strip("_") or None
