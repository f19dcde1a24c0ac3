"""The page as the installer sets it up: started by who looks, in a sandbox of its own, gone when nobody does."""

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from machine import SOURCE, STATE, TARGET, UNITS, Recorder, bring_sources

pytest_plugins = ["stage"]

SOCKET, SERVICE = "recorder-agent-web.socket", "recorder-agent-web.service"
PORT = 18_088
INSTALL_SECONDS = 300
MOST_SCORE = 10
"""Of systemd-analyze security, in tenths."""
LOOKS = {
    "token": f"cat {STATE}/token/device-token",
    "recordings": f"ls {STATE}/outbox {STATE}/recording {STATE}/sent",
    "index": f"cat {STATE}/outbox.db",
    "memory": f"cat {STATE}/recorder.json",
    "credentials": "ls /run/credentials",
    "home": "ls /root",
    "writes": "touch /var/tmp/x /etc/x /run/recorder-agent/x",
    "status": "cat /run/recorder-agent/status.json",
}


def get(path: str = "/", port: int = PORT, **headers: str) -> tuple[int, str]:
    """Ask the page; the network is the host's."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - likewise
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture(scope="module")
def recorder(new_recorder: Callable[[str], Recorder]) -> Recorder:
    """A machine on which the installer has run once more, with the page."""
    recorder = new_recorder("web")
    bring_sources(recorder.container)
    recorder.systemctl("start")
    recorder.wait_state("recording")
    said = recorder.container.run(
        f"{SOURCE}/systemd/install", "--unattended", "--web", f"127.0.0.1:{PORT}", timeout=INSTALL_SECONDS
    )
    assert f"the page is at http://127.0.0.1:{PORT}/" in said.stdout, said
    return recorder


def test_who_looks_starts_it(recorder: Recorder) -> None:
    """No process before; then one of a user of its own, which shows that it records."""
    container = recorder.container
    assert container.show(SOCKET, "ActiveState", "UnitFileState") == {
        "ActiveState": "active",
        "UnitFileState": "enabled",
    }
    assert container.show(SERVICE, "ActiveState", "MainPID") == {"ActiveState": "inactive", "MainPID": "0"}
    recorder.wait_state("recording")
    began = time.monotonic()
    status, text = get()
    print(f"\nthe first look is answered after {time.monotonic() - began:.2f} s")
    assert status == 200
    assert "<strong>Recording</strong>" in text
    assert "recorded" in text
    pid = container.show(SERVICE, "MainPID")["MainPID"]
    assert container.shell(f"stat -c %U /proc/{pid}").strip() == "recorder-agent-web"
    groups = container.shell(f"id -nG {'recorder-agent-web'}").split()
    assert sorted(groups) == ["recorder-agent", "recorder-agent-web"]
    assert get("/", host="evil.example")[0] == 421
    assert container.shell(f"ls /proc/{pid}/net/dev >/dev/null; grep -c : /proc/{pid}/net/dev").strip() == "1"


def test_its_sandbox(recorder: Recorder) -> None:
    """It reads neither token nor recordings nor index, and what it is told it reads; without the rules it would."""
    container = recorder.container
    container.run("systemctl", "stop", SERVICE)
    script = "; ".join(
        f"echo == {name}; {command} >/dev/null 2>&1 && echo yes" for name, command in LOOKS.items()
    )
    container.write("/srv/looks.sh", f"{script}; true\n")
    lines = [
        "Type=oneshot",
        "ExecStart=",
        "ExecStart=/bin/sh /srv/looks.sh",
        "StandardOutput=truncate:/run/looks",
    ]

    def looked(*more: str) -> set[str]:
        recorder.drop_in("probe", *lines, *more, unit=SERVICE)
        try:
            container.run("systemctl", "start", SERVICE)
            return set(re.findall(r"== (\w+)\nyes", container.run("cat", "/run/looks").stdout))
        finally:
            recorder.drop_in("probe", unit=SERVICE)

    assert looked() == {"status"}
    walls_down = ("User=root", "Group=root", "InaccessiblePaths=", "ProtectHome=no", "PrivateUsers=no",
                  "CapabilityBoundingSet=CAP_DAC_OVERRIDE")  # fmt: skip
    assert {"token", "recordings", "index", "memory", "home", "status"} <= looked(*walls_down)


def test_it_is_gone_when_nobody_looks(recorder: Recorder) -> None:
    """After its idle time the process ends in order; the next look starts another."""
    container = recorder.container
    recorder.drop_in("idle", 'Environment="RECORDER_AGENT_WEB_OPTIONS=--idle-seconds 2"', unit=SERVICE)
    try:
        for _ in range(2):
            assert get("/now")[0] == 200
            container.wait_for(
                lambda: container.show(SERVICE, "MainPID", "Result") == {"MainPID": "0", "Result": "success"},
                15,
                "end of the page",
            )
        assert container.show(SOCKET, "ActiveState")["ActiveState"] == "active"
    finally:
        recorder.drop_in("idle", unit=SERVICE)


def test_systemd_has_nothing_to_say(recorder: Recorder) -> None:
    """``verify`` is silent, and ``security`` has little to find."""
    container = recorder.container
    verdict = container.run("systemd-analyze", "verify", f"{UNITS}/{SOCKET}", f"{UNITS}/{SERVICE}")
    assert verdict.stdout + verdict.stderr == ""
    told = container.run(
        "systemd-analyze", "security", "--offline=true", "--no-pager", f"{UNITS}/{SERVICE}", check=False
    ).stdout
    found = re.search(r"Overall exposure level.*: (\d+\.\d)", told)
    assert found, told
    print(f"\nsystemd-analyze security {SERVICE}: {found[1]}")
    assert float(found[1]) * 10 <= MOST_SCORE


def test_it_goes_with_the_rest(recorder: Recorder) -> None:
    """The uninstaller leaves neither units nor the page's user; a machine without the page keeps no trace of one."""
    container = recorder.container
    container.run("/opt/recorder-agent/uninstall", "--unattended", timeout=60)
    units = container.shell(f"ls -R {UNITS}")
    assert "recorder-agent-web" not in units
    assert "recorder-agent-provision" not in units
    assert container.run("getent", "passwd", "recorder-agent-web", check=False).returncode != 0
    assert container.show(TARGET, "LoadState")["LoadState"] == "not-found"
    with pytest.raises(OSError, match="refused"):
        get()
