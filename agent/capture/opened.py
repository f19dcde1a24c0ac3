"""A source for those who want to hear at once, or be told why not: commands, which nobody restarts."""

import contextlib
from collections.abc import Iterator

from agent.audio.source import Source
from agent.capture.microphone import Microphone

OPEN_SECONDS = 8.0
"""How long a microphone may take to give its first sound."""


@contextlib.contextmanager
def opened(source: Source) -> Iterator[Source]:
    """Give a source that is sure to listen, and close it afterwards; MicrophoneError when it does not in time."""
    try:
        if isinstance(source, Microphone):
            source.require(OPEN_SECONDS)
        yield source
    finally:
        source.close()
