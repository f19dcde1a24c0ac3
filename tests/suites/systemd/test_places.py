"""A folder of the owner's choice: set in the settings alone, then opened by the command that the doctor names."""

import re
from collections.abc import Callable
from pathlib import Path

from installed import INSTALL_SECONDS
from machine import CONFIG, SOURCE, STATE, TOKEN, Recorder

from agent.sandbox.devices import DEFAULT_TOKEN

pytest_plugins = ["stage"]

NewRecorder = Callable[[str], Recorder]
PLACE = "/srv/recordings of mine"


def first_thing(recorder: Recorder) -> tuple[str, str]:
    """Return what the doctor says to do first: what is wrong, and the hint."""
    lines = recorder.agent("doctor", check=False).stdout.splitlines()
    return lines[0].removeprefix("First: "), lines[1].strip(" →")


def is_undelivered(path: Path) -> bool:
    """Whether a file is sound that no API has confirmed."""
    return path.parent.name != "sent" and ".json" not in path.name


def test_another_place_for_the_recordings(new_recorder: NewRecorder) -> None:
    """The service says that it may not write there; one command opens it, and brings token and recordings over.

    Removing it all counts what the new place holds, and takes it.
    """
    recorder = new_recorder("places")
    container = recorder.container
    recorder.agent("token", "set", text=f"{DEFAULT_TOKEN}\n")
    recorder.systemctl("start")
    recorder.sandbox.stop()
    container.wait_for(recorder.finished, 30, "finished recording")
    recorder.systemctl("stop")
    waiting = {path.name for path in container.path(f"{STATE}/outbox").glob("*.opus")}
    assert waiting
    recorder.configure(storage=f'directory = "{PLACE}"')
    recorder.systemctl("start")
    container.wait_for(lambda: "may not write" in recorder.unit()["StatusText"], 20, "a word about the place")
    what, hint = first_thing(recorder)
    print(f"\n{what}\n  {hint}")
    assert what == f"recorder-agent.service may not write to {PLACE}"
    found = re.search(r"`(?:sudo )?(\./systemd/install)`", hint)
    assert found is not None
    said = container.shell(f"cd {SOURCE} && {found[1]} </dev/null", timeout=INSTALL_SECONDS)
    print(said)
    assert f"what {STATE} holds is brought over" in said
    assert "it records." in said
    assert "min." in said
    brought = {path.name for path in container.path(f"{PLACE}/outbox").glob("*.opus")}
    assert waiting <= brought
    assert container.path(f"{PLACE}/token/device-token").read_text().strip() == DEFAULT_TOKEN
    assert not container.path(TOKEN).exists()
    assert not [
        row for row in recorder.answer("doctor") if row["state"] == "critical" and "place" in row["check"]
    ]
    hidden = container.shell(
        "nsenter --target $(systemctl show --property=MainPID --value recorder-agent) --mount "
        f"ls '{PLACE}/token' 2>&1 || true"
    )
    assert "device-token" not in hidden
    recorder.sandbox.start()
    recorder.wait_delivered(set(recorder.queue()) & recorder.finished(), 60)
    recorder.sandbox.stop()
    recorder.systemctl("stop")
    lone = container.path(f"{PLACE}/damaged/one.opus")
    lone.write_bytes(b"sound")
    left = [path for path in container.path(PLACE).rglob("*.opus*") if is_undelivered(path)]
    said = container.shell("/opt/recorder-agent/uninstall --delete-recordings")
    print(said)
    assert f"({len(left)} not delivered)" in said
    assert container.shell(f"ls -d '{PLACE}' {STATE} {CONFIG} || true") == ""
