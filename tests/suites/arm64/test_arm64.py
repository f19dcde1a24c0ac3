"""The Debian package for arm64 in a userland of that architecture: built, installed, recording, delivering."""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from acceptance import ALIKE, likeness
from opusfile import complaints, decode, probe_seconds
from speech import speech, write_wav
from userland import PROJECT, Userland, base_tree, build_package

from agent.audio.opus import SAMPLE_RATES
from agent.sandbox.devices import DEFAULT_TOKEN
from agent.sandbox.server import SandboxServer

PYTHON = "/usr/lib/recorder-agent/bin/python3"
SECONDS = 10
UNIT_TESTS = (
    "tests/unit/audio/test_ogg.py",
    "tests/unit/audio/test_ogg_repair.py",
    "tests/unit/audio/test_opus.py",
    "tests/unit/audio/test_opus_frames.py",
    "tests/unit/index/test_retention.py",
    "tests/unit/recorder/test_space.py",
    "tests/acceptance/test_segments.py::test_a_manual_recording_goes_on_in_the_next_file",
)
"""Of the pager, its repair, the encoder and the outbox; none by the wall clock: the emulator is too slow for it."""
TOOLS = ("pytest", "hypothesis", "numpy", "mutagen", "starlette", "uvicorn", "trustme")


@pytest.fixture(scope="session")
def package() -> Path:
    """The Debian package, built in a userland of arm64 by packaging/deb, which sets that up itself."""
    return build_package()


@pytest.fixture(scope="session")
def device(package: Path) -> Iterator[Userland]:
    """A minimal Debian of arm64 on which nothing but the package was installed."""
    with Userland("device", base_tree()) as device:
        device.put(package, "/root/package.deb")
        began = time.monotonic()
        device.apt("install", "--yes", "--no-install-recommends", "/root/package.deb")
        print(f"\ninstalled with what it depends on: {time.monotonic() - began:.0f} s")
        yield device


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SandboxServer]:
    """A recordings API, on the host's loopback, which is the userland's too."""
    with SandboxServer(tmp_path / "sandbox", port=0) as server:
        yield server


def test_the_userland_is_arm64(device: Userland, package: Path) -> None:
    """Kernel interface, package and interpreter all say that they are of the other architecture."""
    machine = device.run("uname", "--machine").strip()
    interpreter = device.run(
        PYTHON, "-c", "import platform, sys; print(platform.machine(), sys.prefix)"
    ).split()
    architecture = device.run("dpkg-query", "--show", "--showformat=${Architecture}", "recorder-agent")
    print(f"\nuname -m says {machine}; {package.name} has {package.stat().st_size} bytes")
    assert (machine, interpreter, architecture) == (
        "aarch64",
        ["aarch64", "/usr/lib/recorder-agent"],
        "arm64",
    )


def test_compiled_parts_are_arm64_and_load(device: Userland) -> None:
    """PyAudio, msgspec, libopus and, for pins, lgpio load; each library in the package is for AArch64.

    Where PyPI has no lgpio for the release's Python, the package recommends the system's instead.
    """
    modules = ["pyaudio", "msgspec", "opuslib", "gpiozero", "prometheus_client"]
    recommended = device.run("dpkg-query", "--show", "--showformat=${Recommends}", "recorder-agent")
    if "python3-lgpio" not in recommended:
        modules.append("lgpio")
    device.run(PYTHON, "-c", f"import {', '.join(modules)}")
    libraries = device.run("find", "/usr/lib/recorder-agent", "-name", "*.so").split()
    print(f"\n{len(libraries)} compiled libraries")
    assert len(libraries) >= 2
    for library in libraries:
        header = device.path(library).read_bytes()[:20]
        assert header[18:20] == b"\xb7\x00", library  # EM_AARCH64


def test_speech_is_recorded_and_delivered(device: Userland, server: SandboxServer, tmp_path: Path) -> None:
    """What is recorded and delivered there is the local file, and by the judges on the host what was spoken."""
    spoken = {rate: speech(rate, 1, rate * SECONDS) for rate in SAMPLE_RATES}
    device.write("/root/config.toml", f'[api]\nbase_url = "{server.base_url}"\n[storage]\nmin_free_mb = 0\n')
    agent = ("recorder-agent", "--config", "/root/config.toml")
    device.run("sh", "-c", f"echo {DEFAULT_TOKEN} | {' '.join(agent)} token set")
    rows: dict[str, tuple[int, dict[str, Any]]] = {}
    for rate, pcm in spoken.items():
        device.put(write_wav(tmp_path / f"{rate}.wav", rate, 1, pcm), f"/root/{rate}.wav")
        settings = device.path("/root/config.toml")
        base = settings.read_text("utf-8").partition("[audio]")[0]
        settings.write_text(f"{base}[audio]\nsample_rate = {rate}\n", "utf-8")
        began = time.monotonic()
        row = json.loads(device.run(*agent, "record", "--input", f"/root/{rate}.wav", "--json"))
        print(f"\nrecorded {SECONDS} s at {rate} Hz in {time.monotonic() - began:.1f} s", end="")
        rows[row["id"]] = (rate, row)

    began = time.monotonic()
    answer = json.loads(device.run(*agent, "sync", "--json"))
    print(f"\ndelivered {len(rows)} recordings in {time.monotonic() - began:.1f} s: {answer}")

    assert sorted(answer["delivered"]) == sorted(rows)
    for recording in server.state.recordings.by_id.values():
        rate, row = rows.pop(str(recording.metadata["client_recording_id"]))
        (copy,) = (server.objects / recording.id).glob("*")
        assert hashlib.sha256(copy.read_bytes()).hexdigest() == row["sha256"]
        assert complaints(copy) == ""
        assert len(decode(copy, rate)) == len(spoken[rate])
        assert likeness(decode(copy, rate), spoken[rate]) > ALIKE
        print(
            f"{rate} Hz: {copy.stat().st_size} bytes, {probe_seconds(copy)} s by ffprobe, no complaint of opusinfo"
        )
    assert not rows


def test_unit_tests_of_encoder_pager_and_outbox(device: Userland, tmp_path: Path) -> None:
    """The project's own tests of these parts pass there, against the package as it is installed."""
    began = time.monotonic()
    fetch_tools(tmp_path / "tools")
    device.bind(tmp_path / "tools")
    device.put(PROJECT / "tests", "/root/tests")
    device.put(PROJECT / "pyproject.toml", "/root/pyproject.toml")
    device.bind(Path("/usr/share/sounds"))
    device.bind(Path("/usr/share/asterisk"))
    device.apt("install", "--yes", "--no-install-recommends", "opus-tools", "ffmpeg")
    print(f"\ntools of the tests: {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    said = device.run(
        PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "-q", *UNIT_TESTS,
        env={"PYTHONPATH": str(tmp_path / "tools")},
    )  # fmt: skip
    print(f"{said.strip().splitlines()[-1]}; {time.monotonic() - began:.0f} s")
    assert " passed" in said


def fetch_tools(folder: Path) -> None:
    """Fetch what the tests need as wheels for arm64: the emulator would take minutes to install them."""
    minor = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; print(sys.version_info[1])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    platforms = [f"--platform=manylinux_2_{glibc}_aarch64" for glibc in (17, 28, 34)]
    subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-qq", "--target", folder,
         "--only-binary=:all:", f"--python-version=3.{minor}", *platforms, *TOOLS],
        check=True, timeout=300,
    )  # fmt: skip
