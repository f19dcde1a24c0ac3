"""The parts of the process that talks, each built once and when first asked for, and handed what it needs."""

import os
import random
from collections.abc import Callable, Mapping
from functools import cached_property
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from agent.clock import Clock, Instant, SystemClock
from agent.config.schema import Config
from agent.config.values import local_timezone
from agent.deliverer.daybook import DeliveryDayBook
from agent.deliverer.takeover import take_over
from agent.disk import Disk
from agent.gaps.log import DELIVERY_FILE, Cause, Gap, GapLog
from agent.host.battery import battery
from agent.host.boot import boot_id, hostname
from agent.host.connection import Connections
from agent.host.network import Network
from agent.host.storage import disk_usage
from agent.host.time_sync import clock_state
from agent.index.findings import Findings
from agent.index.outbox import Outbox
from agent.index.reconcile import Reconciler
from agent.index.retention import Retention
from agent.outbox.entry import Entry
from agent.process.state_directory import Process, StateDirectory
from agent.recording.segment import discard_never_begun
from agent.status.board import Board
from agent.sync.pacing.backoff import Backoff
from agent.sync.pacing.deadlines import Deadlines
from agent.sync.rules.data_usage import DataUsage
from agent.sync.rules.networks import NetworkRules
from agent.sync.rules.owner_rules import Rules
from agent.timing.time_sync import UNSYNCHRONIZED, TimeSync
from agent.token.store import BINDING, Credentials, credential_of
from agent.zone import zone

if TYPE_CHECKING:
    from agent.api.client import RecordingsApi
    from agent.sync.clock_gate import ClockGate
    from agent.sync.conclusions import Conclusions
    from agent.sync.pacing.limits import Limits
    from agent.sync.remote.commands import Recording
    from agent.sync.remote.heartbeat import Heartbeat
    from agent.sync.syncer import Syncer


ROAMING_SECONDS = 30.0
"""So long heartbeats rest at a time while a modem roams against the owner's will."""


class DelivererWiring:
    """What delivers from one state directory, in the deliverer or in a command; ``close`` ends what was built.

    Whoever makes one holds the deliverer's lock.
    """

    def __init__(
        self,
        config: Config,
        state: StateDirectory,
        environ: Mapping[str, str] = os.environ,
        *,
        clock: Clock | None = None,
        disk: Disk | None = None,
        machine: Callable[[], str | None] = clock_state,
    ) -> None:
        self.config = config
        self.state = state
        self.clock = clock or SystemClock()
        self.disk = disk or Disk()
        self.board = Board(self.clock.monotonic)
        self.boot_id = boot_id()
        self._overheard: SimpleQueue[Mapping[str, Any]] = SimpleQueue()
        self.rng = random.Random()  # noqa: S311 - jitter, not a secret
        take_over(state.path, self.disk)
        self.credentials = Credentials(
            state.token, config.api.token_file, environ, self.disk, binding_file=state.path / BINDING
        )
        self.truetime = TimeSync(state.path, self.disk, self.clock, self.boot_id, machine)
        self.gap_log = GapLog(state.path, self.disk, DELIVERY_FILE)
        """Of what was recorded, and dropped or deleted here."""

    def now(self) -> Instant:
        """Return this moment, its wall time as good as it is known."""
        return self.truetime.instant(self.clock.monotonic())

    def credential_state(self) -> tuple[str, str | None]:
        """Return what is known about the token: its state, and its fingerprint."""
        return credential_of(self.board.snapshot.credential, self.credentials)

    @cached_property
    def outbox(self) -> Outbox:
        """Files and index."""
        return Outbox(self.state.path, self.disk, self.now, self._note_deleted, self.credentials)

    def _note_deleted(self, entry: Entry) -> None:
        self.gap_log.add(Gap(Cause.DELETED, entry.started, None, entry.duration_ms, entry.id))

    @cached_property
    def retention(self) -> Retention:
        """What is kept for how long."""
        return Retention(self.outbox, self.config.storage, self.now)

    def reconcile(self, stopped: Callable[[], bool] = lambda: False, *, dry_run: bool = False) -> Findings:
        """Bring files and index together; only for the one process that holds the state directory's lock."""
        if not dry_run and not self.state.is_locked(Process.RECORDER):
            discard_never_begun(self.outbox.files.recording, self.disk)
        return Reconciler(self.outbox, self.disk, stopped=stopped, dry_run=dry_run).run()

    @cached_property
    def api(self) -> "RecordingsApi":
        """The recordings API."""
        from agent.api.client import RecordingsApi  # noqa: PLC0415 - httpx is 6 MiB that ``record`` does not need

        return RecordingsApi(
            self.config.api,
            self.credentials.token,
            self.clock,
            gate=self.limits,
            meter=self.usage.add,
        )

    @cached_property
    def limits(self) -> "Limits":
        """The gate that every API call passes."""
        from agent.sync.pacing.limits import Limits  # noqa: PLC0415 - imports httpx

        recording = self.config.recording
        return Limits(
            self.config.sync.calls_per_minute,
            self.outbox.store,
            self.clock,
            deadlines=self.deadlines,
            backoff=Backoff(rng=self.rng),
            rng=self.rng,
            recording_every=self.recording_every or recording.max_seconds,
            announce=lambda waiting: self.board.report(waiting=waiting),
        )

    def give_up_old_connections(self) -> None:
        """The route has moved: what is open would wait for answers on the old one."""
        if "api" in vars(self):
            self.api.wake()

    @property
    def recording_every(self) -> int | None:
        """How many seconds apart files are finished while it records unasked; None in manual mode."""
        recording = self.config.recording
        return None if recording.mode == "manual" else recording.segment_seconds

    @cached_property
    def deadlines(self) -> Deadlines:
        """Moments in the future."""
        return Deadlines(self.clock, self.boot_id)

    @cached_property
    def gate(self) -> "ClockGate":
        """Which recordings may be created before the time is known."""
        from agent.sync.clock_gate import ClockGate  # noqa: PLC0415 - imports httpx

        return ClockGate(self.api, self.truetime, self.clock)

    @cached_property
    def conclusions(self) -> "Conclusions":
        """What is known of the API beyond single recordings."""
        from agent.sync.conclusions import Conclusions  # noqa: PLC0415 - imports httpx

        return Conclusions(
            self.outbox,
            self.board,
            self.clock,
            deadlines=self.deadlines,
            backoff=Backoff(rng=self.rng),
            limits=self.limits,
        )

    @cached_property
    def networks(self) -> NetworkRules:
        """Over which connections recordings may go."""
        return NetworkRules(self.config.sync, Connections(Network(), self.clock.monotonic).now)

    @cached_property
    def rules(self) -> Rules:
        """What the owner lets wait."""
        return Rules(self.config.sync, self._unix_now, battery)

    @staticmethod
    def _zone() -> ZoneInfo:
        """Return the zone whose midnight begins a day; where none can be told it is UTC, as for the system itself."""
        return zone(local_timezone() or "UTC")

    @cached_property
    def usage(self) -> DataUsage:
        """How much crossed the network today."""
        settings = self.config.sync
        return DataUsage(
            self.state.path,
            self.disk,
            (settings.daily_data_limit_mb, settings.daily_total_limit_mb),
            self._unix_now,
            self._zone(),
            is_metered=lambda: bool(self.networks.connection.metered),
        )

    @cached_property
    def days(self) -> DeliveryDayBook:
        """What was delivered on each day."""
        return DeliveryDayBook(
            self.state.path, self.disk, self.outbox.store.deliveries, self.now, self._zone()
        )

    def _unix_now(self) -> float:
        return self.truetime.now_ms() / 1000

    @cached_property
    def syncer(self) -> "Syncer":
        """The loop that delivers."""
        from agent.sync.delivery import Delivery  # noqa: PLC0415 - imports httpx
        from agent.sync.pacing.throttle import Throttle  # noqa: PLC0415 - imports httpx
        from agent.sync.syncer import Syncer  # noqa: PLC0415 - imports httpx
        from agent.token.holds import Holds  # noqa: PLC0415 - needed here alone

        kbit = self.config.sync.max_kbit_per_second
        return Syncer(
            Delivery(
                self.api,
                self.outbox,
                self.config,
                self.clock,
                boot_id=self.boot_id,
                hostname=hostname(),
                corrected=self.truetime.corrected,
                bindings=self.credentials,
                created=lambda answer: self.credentials.learn(answer.end_user_id, answer.device_id),
                usage=self.usage,
                may_not=self.networks.problem,
                pace=Throttle(kbit, self.clock, self.limits.stopped) if kbit else None,
            ),
            self.conclusions,
            self.outbox,
            self.board,
            self.clock,
            deadlines=self.deadlines,
            gate=self.gate,
            limits=self.limits,
            rules=self.rules,
            networks=self.networks,
            holds=Holds(self.outbox, self.credentials, self._try_token),
            token_changed=self.credentials.watch(),
        )

    def heartbeat(self, recorder: "Recording") -> "Heartbeat":
        """Return the heartbeat, which hands the API's commands to a recorder."""
        from agent.sync.pacing.heartbeat_interval import HeartbeatInterval  # noqa: PLC0415 - needed here alone
        from agent.sync.remote.commands import Commands, ProcessedCommands  # noqa: PLC0415 - needed here alone
        from agent.sync.remote.heartbeat import FIRST_SECONDS, Heartbeat  # noqa: PLC0415 - imports httpx
        from agent.sync.remote.payload import HeartbeatPayload  # noqa: PLC0415 - needed here alone

        settings = self.config.heartbeat
        commands = Commands(
            recorder,
            self.board,
            ProcessedCommands(self.state.path, self.disk, self.now),
            enabled=settings.remote_commands,
            now=self.now,
            unix_time=self._unix_time,
            upload_everything=self.syncer.try_everything,
            upload_soon=self.outbox.arrived.set,
        )
        payload = HeartbeatPayload(
            self.board,
            self.outbox.store.counts,
            self.outbox.store.undelivered_bytes,
            device_name=settings.device_name,
            battery=battery,
            room=lambda: disk_usage(self.state.path),
            network=Network(),
            low_battery_percent=self.config.sync.low_battery_threshold_percent,
            min_free_mb=self.config.storage.min_free_mb,
            max_mb=self.config.storage.max_mb,
        )
        return Heartbeat(
            lambda body, urgent: self.api.heartbeat(body, urgent=urgent),
            payload.body,
            commands,
            self.conclusions,
            self.board,
            self.clock,
            rhythm=HeartbeatInterval(
                settings.interval_seconds,
                self.rng,
                crowded=self.limits.crowded,
                scarce=self.limits.scarce,
            ),
            first_after=self.rng.uniform(0.0, FIRST_SECONDS),
            pause_left=lambda: max(
                self.conclusions.pause_left(),
                ROAMING_SECONDS if self.networks.is_roaming_forbidden else 0.0,
            ),
            delivering=lambda: self.syncer.is_draining,
            token_changed=self.credentials.watch(),
            gate=self.gate,
            overheard=self._overheard,
        )

    def _try_token(self) -> None:
        """Make a call that concerns no recording; what its answer asks for is the heartbeat's to obey."""
        self._overheard.put(self.api.heartbeat({}))

    def _unix_time(self) -> float | None:
        """Return the true time as this machine or the newest answer of the API knows it, else None."""
        now, date = self.now(), self.api.last_date
        if now.clock != UNSYNCHRONIZED:
            return now.wall_ms / 1000
        return None if date is None else date.server + self.clock.monotonic() - date.monotonic

    def close(self) -> None:
        """End calls and close the index, where they were begun."""
        built = vars(self)
        if "api" in built:
            self.api.close()
        if "outbox" in built:
            self.outbox.close()
