"""Fixtures of the container suite."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from container import Container
from debian import base_tree
from installed import INSTALL_SECONDS, Installation
from machine import DELIVERY, SOURCE, TARGET, UNIT, VOICE, Recorder, bring_sources
from packaged import Package, build_package
from speech import speech, write_wav
from waiting import Waiting, begin

from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.server import SandboxServer

VOICE_SECONDS = 30
TOKEN_FILE = "/root/token"


@pytest.fixture(scope="session")
def debian() -> Path:
    """A minimal Debian, not booted: the lowest layer of all containers."""
    return base_tree()


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The package, built and judged, and that of the last version that has one service."""
    return build_package(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def new_container(debian: Path) -> Iterator[Callable[..., Container]]:
    """Make containers by name, on layers above the minimal Debian; all are gone at the end of the module."""
    with ExitStack() as stack:
        yield lambda name, *layers: stack.enter_context(Container(name, [debian, *layers]))


@pytest.fixture(scope="session")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recorded speech to feed the recorder with."""
    file = tmp_path_factory.mktemp("voice") / "voice.wav"
    return write_wav(file, 16000, 1, speech(16000, 1, 16000 * VOICE_SECONDS))


@pytest.fixture(scope="session")
def installation(
    debian: Path, voice: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Install on a bare Debian as an unattended set-up does, and look at what came of it."""
    with (
        SandboxServer(tmp_path_factory.mktemp("sandbox")) as sandbox,
        Container("first", [debian]) as container,
    ):
        recorder = Recorder(container.boot(), sandbox)
        bring_sources(container)
        container.put(voice, VOICE)
        container.write(TOKEN_FILE, f"{DEFAULT_TOKEN}\n", 0o600)
        began = time.monotonic()
        said = container.run(
            f"{SOURCE}/systemd/install", "--unattended", "--token-file", TOKEN_FILE,
            "--input", f"file:{VOICE}?loop", "--base-url", sandbox.base_url,
            timeout=INSTALL_SECONDS, check=False,
        )  # fmt: skip
        seconds = time.monotonic() - began
        print(
            f"\n--- systemd/install ended with {said.returncode} after {seconds:.0f} s\n{said.stdout}{said.stderr}---"
        )
        assert said.returncode == 0
        to_sound = recorder.wait_sound(20)
        container.wait_for(
            lambda: recorder.unit()["StatusText"].startswith("recording"), 5, "status line that has caught up"
        )
        status = container.run("systemctl", "status", "--no-pager", UNIT, DELIVERY).stdout
        unit, journal = recorder.unit(), container.journal()
        recorder.systemctl("restart")  # a recording of ten minutes ends with the service
        began = time.monotonic()
        container.wait_for(recorder.copies, 60, "delivery")
        to_delivery = time.monotonic() - began
        facts = (unit, status, recorder.answer("status"), journal, recorder.copies())
        yield Installation(container.freeze(), said, seconds, to_sound, to_delivery, *facts)


@pytest.fixture(scope="module")
def new_recorder(
    debian: Path, installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Recorder]]:
    """Make installed machines by name, the service not started; all are gone at the end of the module."""
    with ExitStack() as stack:
        yield lambda name: _made(stack, name, [debian, installation.layer], tmp_path_factory)


@pytest.fixture(scope="session")
def waiting(
    debian: Path, installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Waiting]]:
    """Three machines that cannot record, side by side: nobody touches them for two minutes."""
    with ExitStack() as stack:
        yield begin(
            {
                state: _made(stack, state.replace("_", "-"), [debian, installation.layer], tmp_path_factory)
                for state in ("no_microphone", "storage_full", "muted")
            }
        )


def _made(
    stack: ExitStack, name: str, layers: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Recorder:
    sandbox = stack.enter_context(SandboxServer(tmp_path_factory.mktemp(name)))
    return fresh(Recorder(stack.enter_context(Container(name, layers)), sandbox))


def fresh(recorder: Recorder) -> Recorder:
    """Boot a machine on the installed layer without what was recorded before, and with settings for its sandbox."""
    link = recorder.container.path(f"/etc/systemd/system/multi-user.target.wants/{TARGET}")
    target = link.readlink()
    link.unlink()
    recorder.configure()
    recorder.container.boot()
    recorder.container.shell("find /var/lib/recorder-agent -mindepth 1 ! -path '*/token*' -delete")
    link.symlink_to(target)
    recorder.container.run("systemctl", "daemon-reload")
    return recorder
