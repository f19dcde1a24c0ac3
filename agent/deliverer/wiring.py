"""The parts of the process that talks, each built once and when first asked for, and handed what it needs."""

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from agent.clock import Clock, Instant
from agent.config.schema import Config
from agent.deliverer.daybook import DeliveryDayBook
from agent.deliverer.takeover import take_over
from agent.disk import Disk
from agent.environment import Environment
from agent.gaps.log import DELIVERY_FILE, Cause, Gap, GapLog
from agent.host.battery import battery
from agent.host.net.network import Network
from agent.host.net.uplink import Uplinks
from agent.host.time_sync import clock_state
from agent.index.findings import Findings
from agent.index.outbox import Outbox
from agent.index.reconcile import Reconciler
from agent.index.retention import Retention
from agent.outbox.entry import Entry
from agent.process.state_directory import Process, StateDirectory
from agent.recording.segment import discard_never_begun
from agent.status.status_document import CredentialStatus
from agent.sync.rules.data_usage import DataUsage
from agent.sync.rules.networks import NetworkRules
from agent.sync.rules.owner_rules import OwnerRules, Rules
from agent.timing.time_sync import UNSYNCHRONIZED, TimeSync
from agent.token.store import BINDING, Credentials, credential_of
from agent.zone import zone, zone_of_days

if TYPE_CHECKING:
    from agent.api.client import RecordingsApi
    from agent.sync.connection import Connection
    from agent.sync.failures import DeliveryFailures
    from agent.sync.pacing.limits import Limits
    from agent.sync.remote.heartbeat import Heartbeat, HeartbeatCalls
    from agent.sync.remote.remote_recorder import RemoteRecorder
    from agent.sync.syncer import Syncer


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
        self.state = state
        self.environment = environment = Environment(config, state.path, clock=clock, disk=disk)
        self.config, self.clock = config, environment.clock
        self.disk, self.board, self.boot_id = environment.disk, environment.board, environment.boot_id
        take_over(state.path, self.disk)
        self.credentials = Credentials(
            state.token, config.api.token_file, environ, self.disk, binding_file=state.path / BINDING
        )
        self.time = TimeSync(state.path, self.disk, self.clock, self.boot_id, machine)
        self.gap_log = GapLog(state.path, self.disk, DELIVERY_FILE)
        """Of what was recorded, and dropped or deleted here."""

    def now(self) -> Instant:
        """Return this moment, its wall time as good as it is known."""
        return self.time.instant(self.clock.monotonic())

    def credential_status(self) -> CredentialStatus:
        """Return what is known about the token."""
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
            admission=self.limits,
            meter=self.usage.add,
        )

    @cached_property
    def limits(self) -> "Limits":
        """What every API call passes."""
        from agent.sync.pacing.limits import Limits  # noqa: PLC0415 - imports httpx

        every = self.recording_every or self.config.recording.max_seconds
        return Limits(self.environment, self.outbox.store, every)

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
    def connection(self) -> "Connection":
        """What says whether recordings may be sent now, and if not, why and until when."""
        from agent.sync.clock_wait import ClockWait  # noqa: PLC0415 - imports httpx
        from agent.sync.connection import Connection  # noqa: PLC0415 - imports httpx

        clock_wait = ClockWait(self.api, self.time, self.clock)
        owner = OwnerRules(self.rules, self.networks, self.usage)
        return Connection(self.environment, self.outbox, self.limits, owner, clock_wait)

    @cached_property
    def failures(self) -> "DeliveryFailures":
        """What failures mean."""
        from agent.sync.failures import DeliveryFailures  # noqa: PLC0415 - imports httpx

        return DeliveryFailures(self.environment, self.outbox, self.connection)

    @cached_property
    def networks(self) -> NetworkRules:
        """Over which connections recordings may go."""
        return NetworkRules(self.config.sync, Uplinks(Network(), self.clock.monotonic).now)

    @cached_property
    def rules(self) -> Rules:
        """What the owner lets wait."""
        return Rules(self.config.sync, self._unix_now, battery)

    @staticmethod
    def _zone() -> ZoneInfo:
        """Return the zone whose midnight begins a day; where none can be told it is UTC, as for the system itself."""
        return zone(zone_of_days())

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
            is_metered=lambda: bool(self.networks.uplink.metered),
        )

    @cached_property
    def days(self) -> DeliveryDayBook:
        """What was delivered on each day."""
        return DeliveryDayBook(
            self.state.path, self.disk, self.outbox.store.deliveries, self.now, self._zone()
        )

    def _unix_now(self) -> float:
        return self.time.now_ms() / 1000

    @cached_property
    def syncer(self) -> "Syncer":
        """The loop that delivers."""
        from agent.sync.delivery import Delivery  # noqa: PLC0415 - imports httpx
        from agent.sync.syncer import Syncer  # noqa: PLC0415 - imports httpx
        from agent.token.holds import Holds  # noqa: PLC0415 - needed here alone

        return Syncer(
            self.environment,
            self.outbox,
            Delivery(self.environment, self.api, self.outbox, self.time, self.credentials, self.connection),
            self.failures,
            self.connection,
            Holds(self.outbox, self.credentials, self.heartbeat_calls.try_token),
        )

    @cached_property
    def heartbeat_calls(self) -> "HeartbeatCalls":
        """The call that heartbeat and delivery make."""
        from agent.sync.remote.heartbeat import HeartbeatCalls  # noqa: PLC0415 - imports httpx

        return HeartbeatCalls(self.api)

    def heartbeat(self, recorder: "RemoteRecorder") -> "Heartbeat":
        """Return the heartbeat, which hands the API's commands to a recorder."""
        from agent.sync.remote.commands import Commands  # noqa: PLC0415 - needed here alone
        from agent.sync.remote.heartbeat import Heartbeat  # noqa: PLC0415 - imports httpx
        from agent.sync.remote.payload import HeartbeatPayload  # noqa: PLC0415 - needed here alone
        from agent.sync.remote.processed_commands import ProcessedCommands  # noqa: PLC0415 - needed here alone

        commands = Commands(
            self.environment,
            recorder,
            ProcessedCommands(self.state.path, self.disk, self.now),
            unix_time=self._unix_time,
            upload_everything=self.syncer.try_everything,
            upload_soon=self.outbox.arrived.set,
        )
        return Heartbeat(
            self.environment,
            self.heartbeat_calls,
            HeartbeatPayload(self.environment, self.outbox.store, Network()),
            commands,
            self.connection,
            self.credentials.watch(),
        )

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
