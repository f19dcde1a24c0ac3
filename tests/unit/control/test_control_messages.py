"""The control socket and odd messages: whatever is asked is answered, whatever is answered can be shown."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from connecting import ANSWER_SECONDS, connected
from hypothesis import given, settings
from hypothesis import strategies as st
from logcapture import capture_logs

from agent.control.messages import REQUEST_BYTES
from agent.control.server import ControlServer, Peer, Request, ask
from agent.errors import AgentError


@pytest.mark.parametrize(
    ("answer", "sentence", "code"),
    [
        (b'{"error": "Gru\xdf", "exit_code": 1}\n', "Gru\ufffd", 1),
        (b'{"error": 7, "exit_code": 10000000000}\n', "7", 1),
        (b'{"error": "x", "exit_code": "y"}\n', "x", 1),
        (b'{"error": "x", "exit_code": 75}\n', "x", 75),
        (b"[" * 100_000 + b"\n", "what answers is no recorder-agent of this version", 1),
        (b"no json\n", "what answers is no recorder-agent of this version", 1),
        (b'{"event": "x"}\n', "recorder-agent went away before it answered", 1),
        (b"", "recorder-agent went away before it answered", 1),
    ],
)
def test_an_odd_answer_is_one_sentence(tmp_path: Path, answer: bytes, sentence: str, code: int) -> None:
    """Whoever listens there: what it says is shown as text, and never a traceback."""
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer_once() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(answer)

        thread = threading.Thread(target=answer_once)
        thread.start()
        with pytest.raises(AgentError) as failed:
            ask(path, {"command": "status"})
        thread.join()
    assert str(failed.value).startswith(sentence)
    assert failed.value.exit_code == code


@pytest.mark.parametrize(
    "answer", [10**400, {1, "a"}, object(), "\udcff", {"a": float("nan")}, {"\udcff": 1}]
)
def test_any_answer_of_a_handler_is_sent_or_said(tmp_path: Path, answer: Any) -> None:
    """What JSON cannot hold is this command's failure; half characters are replaced."""
    server = ControlServer(tmp_path / "control.sock", {"status": lambda _request, _peer: answer})
    with contextlib.suppress(AgentError):
        assert "\udcff" not in repr(ask(server.path, {"command": "status"}, timeout=ANSWER_SECONDS))
    server.close()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(2**63), 1e308, float("inf"), "\ud800", "x" * 70_000, "record", "\x1b[2J"])
    | st.floats()
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from([*Request.__struct_fields__, "unknown"])


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A socket whose handler uses every field as what its type says."""

    def use(request: Request, _peer: Peer) -> Any:
        assert len(request.command) <= 64
        assert len(request.name or "") + len(request.text or "") < REQUEST_BYTES
        assert 0 <= (request.seconds or 0.0) <= 10**7
        assert all(len(one) <= 64 for one in request.ids or [])
        assert {type(request.on), type(request.detached), type(request.dry_run)} == {bool}
        return {"metadata": len(request.metadata)}

    path = tmp_path_factory.mktemp("fuzz") / "control.sock"
    server = ControlServer(path, {"record": use})
    yield path
    server.close()


def answer_to(path: Path, line: bytes) -> dict[str, Any]:
    with connected(path) as client, client.makefile("rb") as reader:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(line + b"\n")
        answer: dict[str, Any] = json.loads(reader.readline())
        return answer


@settings(max_examples=300)
@given(st.dictionaries(FIELDS, VALUES, max_size=5), st.booleans())
def test_any_request_is_answered_with_a_result_or_a_sentence(
    fuzzed: Path, fields: dict[str, Any], with_command: bool
) -> None:
    """Every field with values of every type and size: it passes as what it should be, or is refused with code 2."""
    if with_command:
        fields = fields | {"command": "record"}
    with capture_logs() as logs:
        answer = answer_to(fuzzed, json.dumps(fields).encode())
    assert answer.keys() in ({"result"}, {"error", "hint", "exit_code"})
    if "error" in answer:
        assert len(answer["error"]) < 2100
        assert answer["exit_code"] in (1, 2)
    assert logs == []


@settings(max_examples=300)
@given(st.binary(max_size=200).filter(lambda line: b"\n" not in line))
def test_any_bytes_are_answered_with_a_sentence(fuzzed: Path, line: bytes) -> None:
    """No JSON, no UTF-8, no object."""
    assert answer_to(fuzzed, line)["exit_code"] == 2


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"command":' + b"1" * 60_000 + b"}",
        b'{"seconds":1' + b"0" * 5000 + b"}",
    ],
)
def test_deep_and_long_requests_are_refused(fuzzed: Path, line: bytes) -> None:
    """Neither the depth of the nesting nor the number of digits ends anything."""
    assert answer_to(fuzzed, line)["exit_code"] == 2
