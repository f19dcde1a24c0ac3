"""The page in a real browser: pictures of what a recorder can be, at two sizes and in two colours, and axe on each.

The pictures are kept in ``build/page``.
"""

# ruff: noqa: F401, F811 - fixtures are imported by name

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance import PROGRAM, Machine, wait_for
from browser import SCHEMES, SIZES, Browser, chromium
from fake_recorder import SCENES, FakeRecorder
from page_site import PASSWORD, Site, Site_, environment, free_port, page, recorder, set_password
from speech import speech, write_wav

PICTURES = Path(__file__).parents[3] / "build/page"
SMALLEST_PICTURE = 8000
STATE_PIXELS = 32
TIMES = 5
MOST_TIMES_BARE = 3.0
CROWDED_SECONDS = 6.0
BARE = """
import socket
import uvicorn
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route
app = Starlette(routes=[Route("/", lambda request: HTMLResponse("<h1>hello</h1>"))])
server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, loop="asyncio", http="h11", ws="none"))
server.run([socket.socket(fileno=3)])
"""
ACTIVATED = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True); "
    "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize("scene", SCENES)
def test_pictures(browser: Browser, page: Site_, recorder: FakeRecorder, scene: str) -> None:
    """Nothing is cut off, the state is in large, axe and the browser find nothing, all comes from here."""
    recorder.show(scene)
    site = page()
    address = f"http://{site.host}:{site.port}/"
    grounds = set()
    for size, (width, _) in SIZES.items():
        for scheme in SCHEMES:
            browser.look(size, scheme)
            browser.open(address)
            name = f"{scene.replace(' ', '-')}-{width}-{scheme}.png"
            assert len(browser.picture(PICTURES / name)) > SMALLEST_PICTURE
            assert browser.run("return document.documentElement.scrollWidth") <= width
            large = "return parseFloat(getComputedStyle(document.querySelector('.state strong')).fontSize)"
            assert browser.run(large) >= STATE_PIXELS
            grounds.add((scheme, browser.run("return getComputedStyle(document.body).backgroundColor")))
            loaded = browser.run("return performance.getEntriesByType('resource').map(each => each.name)")
            assert all(each.startswith(address) for each in loaded), loaded
            assert browser.complaints() == []
    assert len(grounds) == len({ground for _, ground in grounds}) == len(SCHEMES)


def test_the_password_and_the_controls(browser: Browser, page: Site_, recorder: FakeRecorder) -> None:
    """Typed in the browser: the page of the password and the controls are as good, and a press reaches the recorder."""
    set_password(recorder)
    site = page("--allow-control")
    browser.look("phone", "light")
    browser.open(f"http://{site.host}:{site.port}/login")
    assert browser.complaints() == []
    browser.run(f"document.querySelector('#password').value = '{PASSWORD}'; document.forms[0].submit()")
    wait_for(lambda: bool(browser.run("return document.querySelector('button[value=mute]') !== null")))
    browser.picture(PICTURES / "control-360-light.png")
    assert browser.complaints() == []
    browser.run("document.querySelector('button[value=mute]').click()")
    wait_for(lambda: any(request.command == "mute" and request.on for request in recorder.asked))
    wait_for(lambda: "Muted." in browser.run("return document.body.innerText"))


def test_the_level_moves(browser: Browser, page: Site_, recorder: FakeRecorder) -> None:
    """And so do state and facts, without a reload."""
    site = page()
    browser.open(f"http://{site.host}:{site.port}/")
    browser.run("window.stays = true")
    for dbfs in (-48.0, -12.0, -33.0):
        recorder.level_dbfs = dbfs
        wait_for(lambda dbfs=dbfs: browser.run("return document.querySelector('#level').value") == dbfs)  # type: ignore[misc]
    recorder.show("no microphone")
    wait_for(lambda: "No microphone" in browser.run("return document.querySelector('#now').innerText"))
    assert browser.run("return window.stays") is True


def test_control_axe_finds_what_is_wrong(browser: Browser, page: Site_) -> None:
    """A field without a label and text without contrast are found, and so is a request to elsewhere."""
    site = page()
    browser.open(f"http://{site.host}:{site.port}/")
    browser.run("document.querySelector('main').append(document.createElement('input'))")
    assert "label" in "".join(browser.complaints())
    browser.open(f"http://{site.host}:{site.port}/")
    browser.run("document.querySelector('h1').style.color = '#eee'; document.body.style.background = '#fff'")
    assert "color-contrast" in "".join(browser.complaints())
    browser.open(f"http://{site.host}:{site.port}/")
    browser.run("fetch('http://127.0.0.1:9/').catch(() => null)")
    wait_for(lambda: "Content Security Policy" in "".join(browser.complaints()))


# the time from activation


def first_byte(command: list[str], variables: dict[str, str]) -> float:
    """Return how long it takes from a process that is started on a socket to the first byte of its page."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname(), 30) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            began = time.monotonic()
            arguments = [sys.executable, "-c", ACTIVATED, str(listener.fileno()), *command]
            with subprocess.Popen(arguments, env=variables, pass_fds=[listener.fileno()]) as process:
                try:
                    assert client.recv(1) == b"H"
                    return time.monotonic() - began
                finally:
                    process.kill()


def times_bare(recorder: FakeRecorder, variables: dict[str, str]) -> float:
    """Return how many times as long as a bare page ours takes, by the medians of some trials in turn."""
    ours, bare = [], []
    for _ in range(TIMES):
        bare.append(first_byte([sys.executable, "-c", BARE], environment(recorder)))
        ours.append(first_byte([str(PROGRAM), "--config", str(recorder.config), "web"], variables))
    one, other = statistics.median(ours), statistics.median(bare)
    print(f"\nfirst byte after {one:.2f} s, of a bare page after {other:.2f} s: {one / other:.2f} times")
    return one / other


def test_the_first_byte_comes_soon(recorder: FakeRecorder, tmp_path: Path) -> None:
    """At most three times as late as that of a bare page of the same libraries; the control dawdles."""
    assert times_bare(recorder, environment(recorder)) <= MOST_TIMES_BARE
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\nif sys.argv[1:2] != ['-c']: time.sleep(4)\n"
    )
    slow = environment(recorder)
    slow["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{slow['PYTHONPATH']}"
    dawdles = first_byte([str(PROGRAM), "--config", str(recorder.config), "web"], slow)
    assert dawdles > MOST_TIMES_BARE * first_byte([sys.executable, "-c", BARE], environment(recorder))


# a crowd, and a recorder that records


def test_recording_does_not_notice_a_crowd(tmp_path: Path) -> None:
    """200 silent connections, slow clients and as many requests as go: not a sample is missing, no command is late."""
    machine = Machine(tmp_path / "machine")
    wav = write_wav(tmp_path / "speech.wav", 16_000, 1, speech(16_000, 1, 20 * 16_000))
    machine.configure(audio={"input": f"file:{wav}?loop"}, heartbeat={"enabled": False})
    port = free_port("127.0.0.1")
    with machine.daemon() as daemon, contextlib.ExitStack() as stack:
        wait_for(lambda: (daemon.status()["recording"] or {"duration_ms": 0})["duration_ms"] > 0)
        process = stack.enter_context(machine.popen("web", "--listen", f"127.0.0.1:{port}"))
        stack.callback(process.kill)
        site = Site(process, "127.0.0.1", port)

        def is_up() -> bool:
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0

        wait_for(is_up)
        before = machine.ok("report", "--json").json[-1]
        began = time.monotonic()
        answered = [0]

        def asks() -> None:
            while time.monotonic() - began < CROWDED_SECONDS:
                with contextlib.suppress(OSError):
                    answered[0] += site.ask("/")[0] == 200

        for _ in range(200):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            client.sendall(b"GET / HTTP/1.1\r\nX: ")
        threads = [threading.Thread(target=asks) for _ in range(8)]
        for thread in threads:
            thread.start()
        late = []
        while time.monotonic() - began < CROWDED_SECONDS:
            asked = time.monotonic()
            daemon.status()
            late.append(time.monotonic() - asked)
            time.sleep(0.2)
        for thread in threads:
            thread.join()
        after = machine.ok("report", "--json").json[-1]
        elapsed = time.monotonic() - began
        print(f"\n{answered[0]} pages in {elapsed:.1f} s; the recorder answers within {max(late):.2f} s")
        assert answered[0] > 10
        assert after["missing_seconds"] == before["missing_seconds"]
        assert after["recorded_seconds"] - before["recorded_seconds"] > elapsed - 2
        assert max(late) < 2
        assert daemon.stop() == 0
