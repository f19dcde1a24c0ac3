"""The steps of one recording's delivery, resumed at the first fact that is missing (api.md sections 1 to 4)."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from agent.api.answers import Completion, Created, UploadUrl
from agent.api.client import RecordingsApi
from agent.api.errors import (
    Aborted,
    Busy,
    Conflict,
    InvalidResponse,
    NotSent,
    Offline,
    RequestRejected,
    StorageUnreachable,
    UnreadableFile,
    UnusableAnswer,
    UploadRefused,
)
from agent.clock import milliseconds, rfc3339
from agent.config.schema import render_name
from agent.config.values import NAME_CHARACTERS
from agent.environment import Environment
from agent.errors import AgentError
from agent.host.boot import hostname
from agent.index.outbox import Outbox
from agent.log import get_logger
from agent.outbox.entry import Entry, KeptUrl, Status, changed
from agent.small_file import open_file
from agent.sync.connection import Connection
from agent.sync.metadata import metadata_of
from agent.sync.pacing.throttle import Throttle
from agent.timing.time_sync import TimeSync
from agent.token.bindings import BindingChanged
from agent.token.store import Credentials

log = get_logger(__name__)

FRESH_URLS = 3
"""How many upload URLs in a row storage may refuse before this recording backs off."""
CONFLICTS = 3
"""How many times a file is sent again after a 409 before the recording is parked."""
UNUSABLE_ANSWERS = 3
"""After so many under one key a create is made under another: the server may keep its first answer for a day."""
URL_MARGIN_MS = 60_000
"""An upload URL this close to its end is not begun with."""

_NO_KEY = re.compile(r"[^A-Za-z0-9_-]")

Progress = Callable[[Entry, int], None]
"""Called with the entry and the bytes sent so far."""


class Delivery:
    """Takes recordings through their steps; every fact is durable before the next step begins.

    ``deliver`` raises ApiFailure, DataLimitReached, OSError or sqlite3.Error; the entry's facts up to there are kept.
    """

    def __init__(
        self,
        environment: Environment,
        api: RecordingsApi,
        outbox: Outbox,
        time: TimeSync,
        credentials: Credentials,
        connection: Connection,
    ) -> None:
        self._api = api
        self._outbox = outbox
        self._config = environment.config
        self._clock = environment.clock
        self._boot_id = environment.boot_id
        self._hostname = hostname()
        self._corrected = time.corrected
        self._credentials = credentials
        self._usage = connection.owner.usage
        self._forbidden = connection.forbidden
        """Says why nothing may be sent now; the connection in use can change between two steps."""
        kbit = environment.config.sync.max_kbit_per_second
        self._pace = Throttle(kbit, environment.clock, connection.limits.stopped) if kbit else None
        self._unusable: dict[str, int] = {}
        """How many answers in a row to the create of a recording could not be used, by local id."""

    def deliver(self, entry: Entry, on_progress: Progress) -> Entry:
        """Do every step that is missing; the entry returned is uploaded, or parked as damaged."""
        if entry.stored_ms is None:
            self._usage.check(entry.size_bytes)
        if entry.remote_id is None:
            entry = self._create(entry)
        while True:
            if entry.stored_ms is None:
                entry = self._store(entry, on_progress)
                if entry.status is Status.PARKED:
                    return entry
            try:
                return self._complete(entry)
            except Conflict:
                if entry.conflicts >= CONFLICTS:
                    self._outbox.note(entry, "conflict", stored_ms=None, asked_ms=None, conflicts=0)
                    raise
                entry = self._outbox.note(
                    entry,
                    "conflict",
                    stored_ms=None,
                    asked_ms=None,
                    upload_url=None,
                    conflicts=entry.conflicts + 1,
                )
                log.warning(
                    "the server holds other bytes, sending again", action="upload_repeated", id=entry.id
                )

    def _ask_owner(self) -> None:
        """Raise what forbids to send now."""
        problem = self._forbidden()
        if problem is not None:
            raise problem

    def _create(self, entry: Entry) -> Entry:
        self._ask_owner()
        if entry.request is None:
            entry = changed(entry, started=self._corrected(entry.started))
            entry = self._outbox.advance(entry, "frozen", request=self._body(entry))
        created = self._created(entry)
        entry = self._outbox.advance(entry, "created", remote_id=created.id, created_ms=self._outbox.now_ms())
        self._credentials.learn(created.end_user_id, created.device_id)
        return entry

    def _created(self, entry: Entry) -> Created:
        """Make the create call under a key of its own for this binding and this try (api.md section 1)."""
        while True:
            binding = self._credentials.current()
            try:
                with self._credentials.only_under(binding):
                    created = self._api.create(idempotency_key(entry, binding), entry.request or {})
            except BindingChanged:
                continue
            except AgentError as error:
                if _is_definite_refusal(error) or self._is_stored_nonsense(entry, error):
                    self._outbox.note(entry, "refused", create_refusals=entry.create_refusals + 1)
                raise
            self._unusable.pop(entry.id, None)
            return created

    def _is_stored_nonsense(self, entry: Entry, error: AgentError) -> bool:
        """Whether a key has got an answer that cannot be used so often that it may be one that is kept and replayed."""
        if not isinstance(error, UnusableAnswer):
            return False
        self._unusable[entry.id] = self._unusable.get(entry.id, 0) + 1
        if self._unusable[entry.id] < UNUSABLE_ANSWERS:
            return False
        del self._unusable[entry.id]
        return True

    def _body(self, entry: Entry) -> dict[str, Any]:
        return {
            "name": self._name(entry)[:NAME_CHARACTERS],
            "started_at": rfc3339(entry.started.wall_ms),
            "ended_at": rfc3339(entry.ended_ms),
            "metadata": metadata_of(entry),
        }

    def _name(self, entry: Entry) -> str:
        return entry.name or render_name(
            self._config.recording.name,
            hostname=self._hostname,
            started_at=datetime.fromtimestamp(entry.started.wall_ms / 1000, tz=UTC).astimezone(),
            seq=entry.seq,
            mode=entry.mode,
        )

    def _store(self, entry: Entry, on_progress: Progress) -> Entry:
        for remaining in reversed(range(FRESH_URLS)):
            entry = self._with_upload_url(entry)
            problem = self._outbox.files.problem_of(entry)
            if problem is not None:
                return self._outbox.damaged(entry, problem)
            try:
                self._put(entry, on_progress)
            except UnreadableFile as error:
                return self._outbox.damaged(entry, str(error))
            except (NotSent, StorageUnreachable) as error:
                if isinstance(error, NotSent) or not error.connected:
                    self._outbox.index(entry, "ticket_refused", upload_url=None)
                raise
            except UploadRefused:
                entry = self._outbox.index(entry, "ticket_refused", upload_url=None)
                if not remaining:
                    raise
            else:
                break
        # The sidecar learns it with the next fact, "asked": without the row until then it is only sent once more.
        return self._outbox.remember(entry, "stored", stored_ms=self._outbox.now_ms(), upload_url=None)

    def _with_upload_url(self, entry: Entry) -> Entry:
        if entry.upload_url is not None and self._usable(entry.upload_url):
            return entry
        self._ask_owner()
        given = self._api.upload_url(
            remote_of(entry),
            content_type=self._config.api.content_type,
            size_bytes=entry.size_bytes,
            captured_at=rfc3339(entry.started.wall_ms),
        )
        upload_url = KeptUrl(
            given.url,
            given.headers,
            self._boot_id,
            milliseconds(self._clock.boottime()),
            milliseconds(given.lifetime),
        )
        return self._outbox.remember(entry, "ticket", upload_url=upload_url, media_id=given.media_id)

    def _usable(self, upload_url: KeptUrl) -> bool:
        return upload_url.boot_id == self._boot_id and self._left_ms(upload_url) > URL_MARGIN_MS

    def _left_ms(self, upload_url: KeptUrl) -> int:
        """Return what is left of the life of an upload URL of this boot; 0 for one of the future."""
        age = milliseconds(self._clock.boottime()) - upload_url.boot_ms
        return upload_url.lifetime_ms - age if age >= 0 else 0

    def _put(self, entry: Entry, on_progress: Progress) -> None:
        if entry.upload_url is None:
            raise AssertionError("a PUT without an upload URL")
        self._ask_owner()
        with (
            open_file(self._outbox.files.audio(entry)) as file,
            self._usage.reserving(entry.size_bytes),
        ):

            def note(sent: int) -> None:
                on_progress(entry, sent)

            upload_url = UploadUrl(entry.upload_url.url, entry.upload_url.headers)
            life = self._left_ms(entry.upload_url) / 1000
            self._api.put(
                upload_url, file, entry.size_bytes, note, pace=self._pace, life=life, may_not=self._forbidden
            )

    def _complete(self, entry: Entry) -> Entry:
        self._ask_owner()
        unanswered = entry.asked_ms is not None
        if not unanswered:
            entry = self._outbox.advance(entry, "asked", asked_ms=self._outbox.now_ms())
        try:
            completion = self._api.complete(remote_of(entry), entry.sha256)
            evidence = None if completion.verified else _evidence(entry, completion)
        except AgentError as error:
            if unanswered and isinstance(error, RequestRejected) and error.status == HTTPStatus.BAD_REQUEST:
                return self._outbox.complete(entry, verified=False)  # api.md section 4, "already uploaded"
            if not unanswered and not _is_unanswered(error):
                self._outbox.note(entry, "answered", asked_ms=None)
            raise
        return self._outbox.complete(entry, verified=completion.verified, evidence=evidence)


def _evidence(entry: Entry, completion: Completion) -> str | None:
    """Return what ``media[]`` proves where the server has not compared the hash (api.md section 4).

    Raises:
        InvalidResponse: our upload has another size there.
    """
    for row in completion.media:
        if entry.media_id is None or row.id != entry.media_id or row.status != "uploaded":
            continue
        if row.file_size_bytes == entry.size_bytes:
            return "size"
        if row.file_size_bytes is not None:
            raise InvalidResponse(
                f"The API confirmed {row.file_size_bytes} bytes of audio and {entry.size_bytes} were sent",
                "the file is kept.",
            )
    return None


def idempotency_key(entry: Entry, binding: str | None) -> str:
    """Return the key of the create call (api.md section 1): 1 to 255 of ``A-Z a-z 0-9 _ -``.

    It is the same while an attempt under it may have been carried out, and another one for another binding and after
    each definite refusal: it never meets a refusal that the server has kept, nor another owner's answer.
    """
    owner = _NO_KEY.sub("-", binding or "none")[:64]
    return f"{entry.id}-{owner}-{entry.create_refusals}"


def _is_definite_refusal(error: AgentError) -> bool:
    """Whether the API has said no: a 4xx that is its own, and no 408, behind which the work may have been done."""
    status: int | None = getattr(error, "status", None)
    if isinstance(error, Offline) or status is None:
        return False
    return (
        HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
        and status != HTTPStatus.REQUEST_TIMEOUT
    )


def _is_unanswered(error: AgentError) -> bool:
    """Whether the API may have done what was asked although it did not say so: no answer, or a gateway's."""
    gateways = {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}
    return isinstance(error, Offline | Aborted | UnusableAnswer) or (
        isinstance(error, Busy) and error.status in gateways
    )


def remote_of(entry: Entry) -> str:
    """Return the id the API gave the recording."""
    if entry.remote_id is None:
        raise AssertionError("the recording was not created yet")
    return entry.remote_id
