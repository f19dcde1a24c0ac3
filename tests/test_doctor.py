"""The doctor says the one right thing first, in each broken state."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from speech import speech, write_wav

from agent.sandbox.server import SandboxServer

TOKEN = "dtok_sandbox"


def examined(
    folder: Path, config: str, *, token: str | None = TOKEN
) -> tuple[int, dict[str, dict[str, str]]]:
    """Run the doctor from outside; return its exit code and what it found, by check."""
    file = folder / "config.toml"
    file.write_text(config)
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    command = [sys.executable, "-c", "from agent.cli import main; main()", "--config", str(file)]
    if token is not None:
        subprocess.run(
            [*command, "token", "set"], input=token, text=True, env=environ, check=False, capture_output=True
        )
    done = subprocess.run(
        [*command, "doctor", "--json"], env=environ, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, {row["check"]: row for row in json.loads(done.stdout)}


def settings(folder: Path, base_url: str, more: str = "") -> str:
    """Return a configuration that records a file."""
    wav = write_wav(folder / "speech.wav", 16000, 1, speech(16000, 1, 48000))
    return (
        f'[api]\nbase_url = "{base_url}"\n[audio]\ninput = "file:{wav}?loop"\n'
        f'[storage]\ndirectory = "{folder / "state"}"\nmin_free_mb = 1\n{more}'
    )


def first_critical(found: dict[str, dict[str, str]]) -> str | None:
    """Return the first critical check."""
    return next((name for name, row in found.items() if row["state"] == "critical"), None)


@pytest.fixture
def sandbox(tmp_path: Path) -> SandboxServer:
    """Return a sandbox that is not started yet."""
    return SandboxServer(tmp_path / "sandbox")


def test_all_is_well(tmp_path: Path, sandbox: SandboxServer) -> None:
    """With everything in place nothing is critical, and the exit code is 0."""
    with sandbox:
        code, found = examined(tmp_path, settings(tmp_path, sandbox.base_url))
    assert (code, first_critical(found)) == (0, None)
    for name in (
        "config",
        "disk space",
        "SQLite",
        "index",
        "libopus",
        "PortAudio",
        "microphone",
        "DNS",
        "API",
    ):
        assert found[name]["state"] in {"healthy", "warning"}, found[name]
    assert found["device token"]["state"] == "healthy"


def test_a_refused_token_is_named(tmp_path: Path, sandbox: SandboxServer) -> None:
    """The API's refusal is the one critical line, with the way out."""
    with sandbox:
        code, found = examined(tmp_path, settings(tmp_path, sandbox.base_url), token="dtok_wrong")
    assert (code, first_critical(found)) == (1, "device token")
    assert "token set" in found["device token"]["hint"]


def test_a_missing_token_is_named(tmp_path: Path, sandbox: SandboxServer) -> None:
    """Without a token that is what is said."""
    with sandbox:
        code, found = examined(tmp_path, settings(tmp_path, sandbox.base_url), token=None)
    assert (code, first_critical(found)) == (1, "device token")


def test_a_server_that_is_down_is_named_once(tmp_path: Path) -> None:
    """What depends on the connection is skipped, not critical as well."""
    code, found = examined(tmp_path, settings(tmp_path, "http://127.0.0.1:9/v1"))
    assert (code, first_critical(found)) == (1, "TLS")
    assert found["API"]["state"] == found["device token"]["state"] == "skipped"


def test_an_unknown_name_is_named(tmp_path: Path) -> None:
    """A host that cannot be looked up is DNS, not TLS."""
    code, found = examined(tmp_path, settings(tmp_path, "https://nowhere.invalid/v1"))
    assert (code, first_critical(found)) == (1, "DNS")
    assert found["TLS"]["state"] == "skipped"


def test_a_full_disk_is_named(tmp_path: Path, sandbox: SandboxServer) -> None:
    """Less room than asked for stops recording: critical."""
    with sandbox:
        config = settings(tmp_path, sandbox.base_url).replace("min_free_mb = 1", "min_free_mb = 99000000")
        code, found = examined(tmp_path, config)
    assert (code, first_critical(found)) == (1, "disk space")


def test_a_missing_microphone_is_named(tmp_path: Path, sandbox: SandboxServer) -> None:
    """A device that is not there is critical, and the hint leads to the list."""
    with sandbox:
        config = settings(tmp_path, sandbox.base_url)
        config = config.replace(config.split('input = "')[1].split('"')[0], "usb-0000:0000-nothing")
        code, found = examined(tmp_path, config)
    assert (code, first_critical(found)) == (1, "microphone")
    assert "devices" in found["microphone"]["hint"]


def test_a_wrong_configuration_is_the_first_thing_said(tmp_path: Path) -> None:
    """Nothing that needs the settings is looked at before they are right."""
    code, found = examined(tmp_path, "[opus]\nbitrate_kbps = 4000\n", token=None)
    assert (code, first_critical(found)) == (1, "config")
    assert "opus.bitrate_kbps" in found["config"]["message"]
    assert found["microphone"]["state"] == found["API"]["state"] == "skipped"
