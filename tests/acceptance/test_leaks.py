"""No secret is left anywhere: tokens, grant tokens and presigned queries, after a run in which much goes wrong."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from acceptance import Machine, machine, server, wait_for
from owners import ANNA, BERT, LATER, NEW, OLD, bind, recorded

from agent.clock import Instant
from agent.disk import Disk
from agent.index.table.database import SUFFIXES
from agent.index.table.store import Store
from agent.outbox.entry import Entry, KeptUrl, changed
from agent.sandbox.faults import Call, Fault
from agent.sandbox.server import SandboxServer
from agent.sandbox.storage import Presigner

__all__ = ["machine", "server"]

GRANT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkZXZfMSJ9.c2lnbmF0dXJlLW9mLWEtZ3JhbnQ"
"""A grant token as the API makes them, for servers that repeat one."""
TOKEN_FILES = {"device-token"}
"""Where a token belongs: in the state directory and, under the same name here, as ``api.token_file``."""


class Secrets:
    """Everything that was secret in a run."""

    def __init__(self) -> None:
        self.tokens = {OLD, NEW, LATER}
        self.grants = {GRANT}
        self.signatures: set[str] = set()

    def all(self) -> set[bytes]:
        """Return what must not be found."""
        return {text.encode() for text in self.tokens | self.grants | self.signatures}


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Secrets:
    """The secrets, with every upload URL's signature as it is given out."""
    kept = Secrets()
    signed = Presigner.url

    def url(presigner: Presigner, base: str, key: str, content_type: str, seconds: int) -> str:
        made = signed(presigner, base, key, content_type, seconds)
        kept.signatures.update(parse_qs(urlsplit(made).query)["X-Amz-Signature"])
        return made

    monkeypatch.setattr(Presigner, "url", url)
    return kept


@pytest.fixture
def command_lines() -> Iterator[set[bytes]]:
    """The command lines of all processes, looked at again and again."""
    seen: set[bytes] = set()
    stopping = threading.Event()

    def look() -> None:
        while not stopping.wait(0.02):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(file.read_bytes())
                except OSError:  # it has ended
                    continue

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield seen
    stopping.set()
    thread.join()


def rounds(*secrets: str) -> list[list[Fault]]:
    """Return what goes wrong in each ``sync``, with servers that repeat in their words what they were sent."""
    words = f"no: Bearer {' '.join(secrets)} at https://storage/x?X-Amz-Signature=abc&X-Amz-Credential=me"
    body = {"error": {"code": "processing_error", "message": words}}
    page = f"<Error><Code>AccessDenied</Code><Message>{words}</Message></Error>"
    return [
        [Fault(Call.CREATE, status=500, body=body), Fault(Call.UPLOAD_URL, status=503, body=words)],
        [Fault(Call.CREATE, status=401, body=body)],
        [Fault(Call.PUT, status=403, body=page), Fault(Call.PUT, drop="after")],
        [Fault(Call.COMPLETE, status=409, body=body), Fault(Call.COMPLETE, drop="after")],
        [Fault(Call.CREATE, status=400, body=body), Fault(Call.UPLOAD_URL, status=422, body=body)],
        [Fault(Call.PUT, status=400, body=page.replace("AccessDenied", "EntityTooLarge"))],
        [Fault(Call.COMPLETE, status=200, body={"id": words, "status": "uploaded"})],
    ]


def test_nothing_secret_is_left_behind(
    machine: Machine, server: SandboxServer, secrets: Secrets, command_lines: set[bytes]
) -> None:
    """Not in a log at its most talkative, an answer, index, write-ahead log, sidecar, request log, command line."""
    bind(server, OLD, ANNA)
    machine.configure(
        log={"level": "debug"}, heartbeat={"interval_seconds": 10}, recording={"mode": "manual"}
    )
    for kind in ("stop_recording", "trigger_upload", "factory_reset", "unheard_of"):
        secrets.grants.add(server.state.devices.queue_command(kind).grant_token)
    said = []
    for wrong in rounds(OLD, GRANT):
        for _ in wrong:
            recorded(machine)
        server.faults.add(*wrong)
        said += [machine.run("sync").err, machine.run("queue", "list", "--json").out]
        machine.run("queue", "retry", "--all")
        server.faults.clear()
    server.faults.add(Fault(Call.HEARTBEAT, status=302, headers={"Location": f"https://x/?token={OLD}"}))
    said.append(machine.run("token", "set", stdin=OLD).out)
    with machine.daemon() as daemon:
        wait_for(lambda: len(server.state.devices.heartbeats) >= 1)
        wait_for(lambda: not server.state.book.entries.commands)
        said.append(machine.run("token", "refresh").err)
        secrets.tokens.add((machine.state / "device-token").read_text().strip())
        machine.run("sync")
        wait_for(lambda: daemon.status()["transfer"] is None)
        bind(server, NEW, BERT)
        for token in (LATER, NEW):
            run = machine.run("token", "set", stdin=token)
            said += [run.out, run.err, machine.run("token", "status").out, machine.run("status").out]
        machine.run("queue", "retry", "--all")
        machine.run("queue", "release", "--all")
        said.append(machine.run("sync").err)
        while_running = leaks(secrets, machine, server)
        daemon.stop()
    machine.run("sync")

    assert len(secrets.tokens) == 4
    assert len(secrets.signatures) > 5
    assert while_running == []
    assert leaks(secrets, machine, server) == []
    everything = "".join(said).encode() + b"".join(command_lines)
    assert [secret for secret in secrets.all() if secret in everything] == []


def leaks(secrets: Secrets, machine: Machine, server: SandboxServer) -> list[tuple[str, bytes]]:
    """Return each file with a secret in it that does not belong there."""
    folders = [machine.folder, server.directory]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert {"outbox.db", "daemon.log", "requests.jsonl", "lineages.json"} <= {file.name for file in files}
    return [
        (file.name, secret)
        for file in files
        # The sandbox keeps what it has to hand out and to sign; that file is no part of the agent.
        if file.name not in TOKEN_FILES and file != server.directory / "recordings.json"
        for secret in secrets.all()
        if secret in file.read_bytes()
    ]


@pytest.mark.parametrize("deleted", [False, True])
def test_a_cleared_upload_url_leaves_the_index(tmp_path: Path, deleted: bool) -> None:
    """Of 300 recordings, with rows that move between pages: nothing in the file or its log, which held it before."""
    store = Store(tmp_path / "outbox.db", Disk())
    files = [tmp_path / f"outbox.db{suffix}" for suffix in SUFFIXES]
    entries = [_entry(number) for number in range(300)]
    store.insert(entries, "test.insert")
    store.forget_upload_urls()
    assert not store.leftovers
    for number, entry in enumerate(entries):
        upload_url = KeptUrl(f"https://s/x?X-Amz-Signature=secret{'e' * (number % 97)}", {}, "boot", 0)
        store.update(changed(entry, upload_url=upload_url), "test.ticket")
        if deleted:
            store.delete(entry.id, "test.deleted")
        else:
            store.update(changed(entry, last_error="x" * (number % 500)), "test.cleared")
    assert b"Signature=secret" in b"".join(file.read_bytes() for file in files)

    store.forget_upload_urls()

    assert b"Signature=" not in b"".join(file.read_bytes() for file in files)
    assert not store.leftovers
    store.close()


def test_a_reader_delays_the_forgetting_and_nobody(tmp_path: Path) -> None:
    """Somebody reads in another process: the call returns at once, and the next one does it."""
    store = Store(tmp_path / "outbox.db", Disk())
    entry = _entry(1)
    store.insert([entry], "test.insert")
    store.forget_upload_urls()
    reader = sqlite3.connect(tmp_path / "outbox.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM recordings").fetchone()
    store.update(
        changed(entry, upload_url=KeptUrl("https://s/x?X-Amz-Signature=s", {}, "", 0)), "test.ticket"
    )
    store.update(entry, "test.cleared")
    began = time.monotonic()
    store.forget_upload_urls()
    assert (store.leftovers, time.monotonic() - began < 5) == (True, True)
    reader.close()
    store.forget_upload_urls()
    assert not store.leftovers
    store.close()


def _entry(number: int) -> Entry:
    name = f"{number:08d}"
    start = Instant(wall_ms=number, boot_id="boot", boot_ms=number, clock="ntp")
    return Entry(
        id=name,
        seq=number,
        session_id=name,
        segment=1,
        stem=name,
        mode="manual",
        started=start,
        sample_rate=16000,
        channels=1,
        samples=16000,
        size_bytes=1,
        sha256="0" * 64,
    )
