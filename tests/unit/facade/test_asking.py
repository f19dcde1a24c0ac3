"""What the command line makes of processes that hang, or go away in the middle of an answer."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli.root import root
from agent.config.loader import LoadedConfig
from agent.config.schema import Config, StorageConfig
from agent.control.server import ControlServer
from agent.facade import context, service
from agent.facade.context import Hangs, Session
from agent.process import state_directory
from agent.process.state_directory import Process
from agent.recorder.publisher import Publisher
from agent.recorder.wiring import RecorderWiring
from agent.sandbox.devices import DEFAULT_TOKEN

SOON = 0.1


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hangs is known at once."""
    monkeypatch.setattr(context, "ANSWER_SECONDS", SOON)
    monkeypatch.setattr(context, "WAIT_SECONDS", SOON)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A call of the command line on a state directory of its own."""
    made = Session(None)
    made.use(
        LoadedConfig(Config(storage=StorageConfig(directory=str(tmp_path / "state"), min_free_mb=0)), None)
    )
    made.state = state_directory.StateDirectory(tmp_path / "state", tmp_path / "run")
    made.enter()
    return made


@contextmanager
def listening(path: Path, *, cut: bool) -> Iterator[None]:
    """Take connections in the place of a process: cut each once its question is there, or never say a word."""
    with socket.socket(socket.AF_UNIX) as listener:
        state_directory.bind(listener, path)
        listener.listen(64)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.recv(4096)
                connection.close()

        if cut:
            threading.Thread(target=serve, daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("cut", [True, False])
def test_a_deliverer_that_does_not_answer_hides_no_recorder(session: Session, *, cut: bool) -> None:
    """It dies in the middle of its answer, or hangs: the recorder's status is shown, delivery as hung."""
    wiring = RecorderWiring(session.loaded.config, session.state, machine=lambda: "ntp")
    publisher = Publisher(wiring)
    with (
        session.state.lock(Process.RECORDER),
        listening(session.state.delivery_socket, cut=cut),
    ):
        server = ControlServer(session.state.socket, {"status": lambda _request, _peer: publisher.status()})
        try:
            for answer in (service.status(session), service.recorder_status(session)):
                assert answer is not None
                assert (answer.state, answer.delivery) == ("idle", "hung")
        finally:
            server.close()
        assert service.recorder_status(session) is None
        assert service.status(session).delivery == "hung"


@pytest.mark.parametrize("process", list(Process))
def test_a_process_that_hangs_is_not_waited_for(session: Session, process: Process) -> None:
    """Whoever asks whether it serves, or for something of it, is told that it hangs."""
    with listening(session.socket(process), cut=False):
        for ask in (
            lambda: session.serves(process),
            lambda: session.ask(process, {"command": "reload"}),
            lambda: session.ask_soon(process, {"command": "level"}),
        ):
            with pytest.raises(Hangs, match=f"a {process.value} runs and does not answer; "):
                ask()


COMMANDS = [
    *("start", "stop", "mute", "unmute", "mark", "reload", "level", "record", "status"),
    *("sync", "repair", "queue retry --all", "queue release --all", "queue delete x"),
    *("token status", "token refresh", "led identify", "doctor"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_waits_for_processes_that_hang(session: Session, tmp_path: Path, command: str) -> None:
    """Both are stopped (SIGSTOP): each command that asks one ends with a sentence, or with what it can tell itself."""
    config = tmp_path / "config.toml"
    token = tmp_path / "token"
    token.write_text(DEFAULT_TOKEN)
    token.chmod(0o600)
    config.write_text(
        f'[storage]\ndirectory = "{session.state.path}"\nmin_free_mb = 0\n[led]\ndriver = "gpio"\npins = [17]\n'
        f'[api]\ntoken_file = "{token}"\nbase_url = "http://127.0.0.1:9"\n'
    )
    answers: list[str] = []

    def run() -> None:
        result = CliRunner().invoke(root, ["--config", str(config), *command.split()])
        answers.append(f"{result.output} {result.exception}")

    with (
        pytest.MonkeyPatch.context() as patch,
        session.state.lock(Process.RECORDER),
        session.state.lock(Process.DELIVERER),
        listening(session.state.socket, cut=False),
        listening(session.state.delivery_socket, cut=False),
    ):
        patch.setattr("signal.signal", lambda *_: None)
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(60)
        assert answers, "it waits"
        told = "is in use" if command == "token status" else "runs and does not answer"
        assert told in answers[0]
