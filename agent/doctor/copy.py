"""A copy of the test recording for the person who asks, to listen to."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from agent.audio.decode import wav_of
from agent.doctor.examination import Check, Finding, healthy, skipped
from agent.doctor.trial import Trial
from agent.errors import AgentError
from agent.facade.context import Session
from agent.hints import typed
from agent.host.target_folder import TargetFolder
from agent.process.state_lock import NoRight

WAV = ".wav"


class ListenCopy:
    """Writes the test recording to a file with the rights of whoever asks, in the place of what is there.

    A name that ends in ``.wav`` gets the decoded sound, which plays everywhere; any other the recording as it is sent.
    """

    def __init__(self, path: Path, folder: TargetFolder, trial: Trial) -> None:
        self._path, self._folder, self._trial = path, folder, trial

    @property
    def check(self) -> Check:
        """The check that keeps it."""
        return Check("test copy", self.keep, needs=("test recording",))

    def keep(self, session: Session) -> Finding:
        """Keep the test recording, wherever delivery has it by now."""
        made = self._trial.made
        if made is None:
            return skipped("there is no test recording to keep")
        session.for_reading()
        for path in (made.path, session.state.sent / made.path.name, session.state.outbox / made.path.name):
            try:
                sound = wav_of(path) if self._path.suffix.lower() == WAV else path.read_bytes()
            except FileNotFoundError:
                continue
            except PermissionError:
                raise NoRight(f"{path} cannot be read", "run this as its owner, or with sudo") from None
            self._folder.replace(self._path.name, sound)
            return healthy(f"{self._path} holds it, to listen to")
        raise AgentError(
            "the test recording is gone already", f"record once more with {typed('doctor --record')}"
        )


@contextlib.contextmanager
def listen_copy(path: Path | None, trial: Trial | None) -> Iterator[ListenCopy | None]:
    """Give what keeps a copy at ``path``; to be entered before anybody becomes the owner of the recordings.

    Raises:
        AgentError: the folder cannot be written.
    """
    if path is None or trial is None:
        yield None
        return
    with TargetFolder(path.absolute().parent) as folder:
        yield ListenCopy(path, folder, trial)
