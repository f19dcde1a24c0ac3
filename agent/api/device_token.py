"""The device token as a value that does not show itself."""

import hashlib
import hmac
import re
from typing import NoReturn

from agent.errors import CredentialError
from agent.host.secrecy import keep_out_of_dumps

FORMAT = re.compile(r"dtok_[!-~]+")
_FINGERPRINT_LENGTH = 8


class Token:
    """A device token that does not show itself: only ``reveal`` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Take a token's text, without blanks around it; CredentialError for anything else."""
        if not FORMAT.fullmatch(text):
            raise CredentialError("this is no device token", "one begins with dtok_ and has no blanks in it")
        keep_out_of_dumps()
        self._text = text

    def reveal(self) -> str:
        """Return the text, for the Authorization header or the file."""
        return self._text

    @property
    def fingerprint(self) -> str:
        """The first 8 hexadecimal digits of the SHA-256: tells tokens apart, and opens nothing."""
        return hashlib.sha256(self._text.encode()).hexdigest()[:_FINGERPRINT_LENGTH]

    def __repr__(self) -> str:
        return f"<Token {self.fingerprint}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and hmac.compare_digest(self._text, other._text)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token is not to be pickled")
