"""Agents that are broken on purpose: the matrix must see each of them."""

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

from matrix_book import TOKEN

from agent.api import verdicts
from agent.api.answers import Answer, Call, UploadUrl
from agent.api.client import RecordingsApi
from agent.outbox.entry import Entry, changed
from agent.sync.delivery import Delivery

_create, _put, _deliver, _stored = (
    RecordingsApi.create,
    RecordingsApi.put,
    Delivery.deliver,
    verdicts.stored,
)


def _stored_by_any_2xx(answer: Answer, call: Call) -> None:
    if not 200 <= answer.status < 300:
        _stored(answer, call)


def _created_with_a_new_key(api: RecordingsApi, _local_id: str, body: dict[str, Any]) -> Any:
    return _create(api, secrets.token_hex(8), body)


def _created_with_the_old_key(api: RecordingsApi, key: str, body: dict[str, Any]) -> Any:
    return _create(api, f"{key.rpartition('-')[0]}-0", body)


def _put_with_the_bearer(api: RecordingsApi, upload_url: UploadUrl, *rest: Any, **named: Any) -> None:
    headers = {**upload_url.headers, "Authorization": f"Bearer {TOKEN}"}
    _put(api, UploadUrl(upload_url.url, headers), *rest, **named)


def _delivered_from_the_start(delivery: Delivery, entry: Entry, *rest: Any) -> Entry:
    return _deliver(delivery, changed(entry, remote_id=None, stored_ms=None, upload_url=None), *rest)


def _nothing_is_intercepted(_status: int) -> bool:
    return False


def _never_busy(_status: int) -> bool:
    return False


SABOTAGES: dict[str, tuple[Any, str, Any]] = {
    "any 2xx of storage is success": (verdicts, "stored", _stored_by_any_2xx),
    "a new key with each create": (RecordingsApi, "create", _created_with_a_new_key),
    "a key is used again after a refusal": (RecordingsApi, "create", _created_with_the_old_key),
    "the bearer goes to storage": (RecordingsApi, "put", _put_with_the_bearer),
    "every try begins with a create": (Delivery, "deliver", _delivered_from_the_start),
    "redirects are the API's word": (verdicts, "is_interception", _nothing_is_intercepted),
    "a busy server is a refusal": (verdicts, "_is_busy", _never_busy),
}


@contextlib.contextmanager
def sabotaged(name: str) -> Iterator[None]:
    """Break the agent in this process for a while; no name breaks nothing."""
    if not name:
        yield
        return
    owner, attribute, replacement = SABOTAGES[name]
    with patch.object(owner, attribute, replacement):
        yield
