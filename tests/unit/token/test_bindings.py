"""Which token belongs to which binding, and whose recordings may be sent under it (api.md section 7)."""

import multiprocessing
import stat
from pathlib import Path

import pytest

from agent.disk import Disk
from agent.token.bindings import BINDINGS_NAME, LOCK_NAME, Bindings, TokenLock
from agent.token.store import Credentials, Token

A, B, C = (Token(f"dtok_{name}-secret") for name in ("alpha", "beta", "gamma"))


def bindings(folder: Path) -> Bindings:
    return Bindings(folder, Disk(), TokenLock(folder / LOCK_NAME))


def credentials(folder: Path, token_file: Path | str = "") -> Credentials:
    return Credentials(folder, str(token_file), {})


def test_nothing_is_held_before_there_was_a_token(tmp_path: Path) -> None:
    """And what was captured then goes under the first token, under no later one of somebody else."""
    book = bindings(tmp_path)
    assert book.current is None
    assert book.allows(None, None, None)
    first = book.note(A.fingerprint)
    assert book.allows(None, None, first)
    second = book.note(B.fingerprint)
    assert not book.allows(None, None, second)


def test_a_token_of_a_person_begins_a_binding_and_an_earlier_one_returns_to_its_own(tmp_path: Path) -> None:
    """A, then B: B may not send what is A's; then A again: it may."""
    kept = credentials(tmp_path)
    kept.store(A)
    anna = kept.current()
    kept.store(B)
    bert = kept.current()
    assert (anna, bert) == (A.fingerprint, B.fingerprint)
    assert not kept.bindings.allows(anna, None, bert)
    kept.store(A)
    assert kept.current() == anna
    assert kept.bindings.allows(anna, None, kept.current())
    assert not kept.bindings.allows(bert, None, kept.current())


def test_a_token_that_a_person_puts_into_the_file_begins_a_binding(tmp_path: Path) -> None:
    """As soon as it is noticed, without any command."""
    file = tmp_path / "token"
    file.touch(0o600)
    kept = credentials(tmp_path, file)
    for token in (A, B):
        file.write_text(token.reveal())
        kept.note_token()
        assert kept.current() == token.fingerprint
    file.write_text(A.reveal())
    kept.token()
    assert kept.current() == A.fingerprint


def test_without_a_token_the_last_binding_stays_in_force(tmp_path: Path) -> None:
    """What is captured after the token was taken away belongs to whoever it was taken from."""
    credentials(tmp_path).store(A)
    (tmp_path / "device-token").unlink()
    assert credentials(tmp_path).current() == A.fingerprint


def test_a_refresh_keeps_the_binding(tmp_path: Path) -> None:
    """And the device id; also the refresh of a refresh, and when the first token is set again."""
    kept = credentials(tmp_path)
    kept.store(A)
    assert kept.token() == A
    kept.learn("eu_anna", "dev_1")
    for old, new in ((A, B), (B, C)):
        assert kept.succeed(old, new, kept.beneath())
        assert (kept.token(), kept.current()) == (new, A.fingerprint)
        assert kept.bindings.device_of(new.fingerprint) == "dev_1"
    kept.store(A)
    assert kept.current() == A.fingerprint


def test_a_person_may_say_that_the_owner_is_the_same(tmp_path: Path) -> None:
    """With the new token at once, or with the same token again after it was forgotten, or with an earlier one."""
    at_once = credentials(tmp_path)
    at_once.store(A)
    at_once.store(B, same_owner=True)
    assert at_once.current() == A.fingerprint
    assert at_once.bindings.device_of(B.fingerprint) is None
    at_once.store(C)
    assert not at_once.bindings.allows(A.fingerprint, None, at_once.current())
    at_once.store(C, same_owner=True)
    assert at_once.bindings.allows(A.fingerprint, None, at_once.current())


def test_an_earlier_token_of_the_same_owner_takes_the_later_recordings_too(tmp_path: Path) -> None:
    """A, a mistyped B, then A again as the same owner: what was captured under B goes as well."""
    kept = credentials(tmp_path)
    for token in (A, B):
        kept.store(token)
    kept.store(A, same_owner=True)
    assert kept.bindings.allows(B.fingerprint, None, kept.current())
    assert kept.bindings.allows(A.fingerprint, None, kept.current())


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (["eu_anna"], ["eu_anna"], True),
        (["eu_anna"], ["eu_bert"], False),
        (["eu_anna"], [], False),
        ([], ["eu_anna"], False),
        ([None], [None], False),
        ([""], [""], False),
        (["eu_anna", "eu_bert"], ["eu_bert"], False),
        (["eu_anna"], ["eu_anna", "eu_bert"], False),
    ],
)
def test_the_same_end_user_is_the_same_owner(
    tmp_path: Path, old: list[str | None], new: list[str | None], same: bool
) -> None:
    """Only where both have shown one and the same; null matches nothing, and two of them prove nothing."""
    book = bindings(tmp_path)
    for token, shown in ((A, old), (B, new)):
        book.note(token.fingerprint)
        for user in shown:
            book.learn(token.fingerprint, user, "dev_1")
    assert book.allows(A.fingerprint, None, book.current) is same


def test_a_release_is_to_the_owner_of_that_time_only(tmp_path: Path) -> None:
    """Released while B was bound: B may have it, and A; C may not."""
    book = bindings(tmp_path)
    for token in (A, B, C):
        book.note(token.fingerprint)
    allowed = [book.allows(A.fingerprint, B.fingerprint, token.fingerprint) for token in (A, B, C)]
    assert allowed == [True, True, False]


@pytest.mark.parametrize("torn", [b"", b"{", b'{"tokens": 3}', b"\xff"])
def test_a_torn_file_holds_what_it_knew(tmp_path: Path, torn: bytes) -> None:
    """What was captured under a refreshed token's binding, and before any, waits for a person; new things go on."""
    kept = credentials(tmp_path)
    kept.store(A)
    kept.succeed(A, B, kept.beneath())
    (tmp_path / BINDINGS_NAME).write_bytes(torn)
    again = credentials(tmp_path)
    assert again.token() == B
    assert again.current() == B.fingerprint
    assert not again.bindings.allows(A.fingerprint, None, again.current())
    assert not again.bindings.allows(None, None, again.current())
    assert again.bindings.allows(B.fingerprint, None, again.current())


def test_the_file_holds_fingerprints_and_is_the_owners(tmp_path: Path) -> None:
    """No token, mode 0600."""
    kept = credentials(tmp_path)
    kept.store(A)
    kept.store(B, same_owner=True)
    file = tmp_path / BINDINGS_NAME
    assert "secret" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_card_that_is_full_costs_no_token(tmp_path: Path) -> None:
    """The token is used, and captures are named by its binding, although nothing can be written."""
    full = Disk(_refuse)
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(A.reveal())
    kept = Credentials(tmp_path, str(file), {}, full)
    assert (kept.token(), kept.current()) == (A, A.fingerprint)


def _refuse(step: str) -> None:
    raise OSError(28, "No space left on device", step)


def test_processes_do_not_lose_each_others_notes(tmp_path: Path) -> None:
    """Four processes that learn at the same time: everything is kept."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        pool.starmap(_learn, [(tmp_path, number) for number in range(4)])
    book = bindings(tmp_path)
    assert [book.device_of(f"{number}-{step}") for number in range(4) for step in range(10)] == [
        f"dev_{number}" for number in range(4) for _ in range(10)
    ]


def _learn(folder: Path, number: int) -> None:
    for step in range(10):
        bindings(folder).learn(f"{number}-{step}", None, f"dev_{number}")
