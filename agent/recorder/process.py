"""The recorder: starts its parts in their threads, watches them, speaks with systemd, and stops them in order.

Start   lock → control socket → recorder thread → READY; behind it what it shows, the absence before it, the LED,
        the button. Recording waits for none of them.
Watch   once a second: a thread that has died ends the process; the watchdog is fed while recording makes progress.
Fault   what cannot be built (an input that is no file, a schedule that cannot be computed) is the state ``fault``,
        tried again every 10 s; so is, as a service, a state directory that may not be used.
Stop    (SIGTERM, SIGINT) the recorder finishes its file, all within 10 s.
"""

import threading
from pathlib import Path

from agent import __version__
from agent.clock import Instant
from agent.config.loader import LoadedConfig
from agent.control.server import ControlServer
from agent.errors import AgentError, sentence_of
from agent.gaps.log import Cause
from agent.host.medium import in_memory
from agent.log import get_logger
from agent.panel.button import Button
from agent.panel.led import StatusLed
from agent.panel.led_driver import led_driver_for
from agent.panel.outcome import recent_outcome
from agent.process.places import note_place
from agent.process.state_directory import Process, StateDirectory
from agent.process.supervised import RETRY_SECONDS, SupervisedProcess
from agent.recorder.handlers import RecorderHandlers
from agent.recorder.last_good import keep
from agent.recorder.publisher import Publisher
from agent.recorder.supervisor import Supervisor
from agent.recorder.wiring import RecorderWiring
from agent.recording.recorder import Recorder
from agent.recording.segment import discard_never_begun
from agent.status.board import State
from agent.status.condition import condition
from agent.status.other_process import deliverer_seen
from agent.status.words import sentence

logger = get_logger(__name__)

STOP_SECONDS = 8.0
"""How long the parts may take to stop; systemd waits 10 s."""
PUBLISHER_SECONDS, LIGHT_SECONDS = 0.5, 0.5
"""How long the published files may take to be removed, and the LED to go dark."""
DELIVERER_SECONDS = 6.0
STARTING_SECONDS = 5.0
"""How long a command waits for a recorder that is just being made."""
JUDGE_SECONDS, DAYS_SECONDS = 1.0, 10.0
"""How often the calendar is asked about absences, and how often it is looked whether a day is over."""
STALLED_SECONDS = 20.0
"""Without progress for so long the watchdog is not fed."""
OUTCOME_SECONDS = 10.0
"""How long the LED shows what became of what was brought on a card or a stick."""


class RecorderProcess(SupervisedProcess):
    """The process that hears."""

    process = Process.RECORDER

    def __init__(
        self,
        loaded: LoadedConfig,
        state: StateDirectory,
        config_path: Path | None,
        *,
        settings_problem: str | None = None,
        last_good: Path | None = None,
        with_deliverer: bool = False,
    ) -> None:
        super().__init__(loaded, state, config_path, settings_problem=settings_problem)
        self._last_good = last_good
        self._with_deliverer = with_deliverer
        self._recorder: Recorder | None = None
        self._status_led: StatusLed | None = None
        self._led_thread: threading.Thread | None = None
        self._supervisor: Supervisor | None = None
        self._days_failed = False

    def _cannot_begin(self, error: AgentError) -> str:
        logger.error("it cannot record, and tries again", action="recorder_fault", reason=str(error))
        return "fault"

    def _work(self) -> int:
        wiring = self._wiring = RecorderWiring(self._loaded.config, self._state)
        wiring.board.report(settings=self._settings_problem)
        if in_memory(self._state.path):
            logger.warning(
                "the state directory lies in memory: what is recorded is gone with the power; name a "
                "storage.directory on a card or disk",
                action="storage_in_memory",
                state=str(self._state.path),
            )
        self._downtime, self._days = wiring.downtime(), wiring.days
        self._threads.start("downtime", self._account)
        discard_never_begun(wiring.files.recording, wiring.disk)
        publisher = self._publisher = Publisher(wiring)
        recording = self._threads.start("recorder", self._record)
        self._status_led = self._lit()
        handlers = RecorderHandlers(
            wiring,
            self._present,
            publisher,
            self._status_led,
            stopping=self._signals.stopping,
            reload=self._reload,
        )
        control = ControlServer(
            self._state.runtime / "control.sock", handlers.handlers, group=self._loaded.config.control.group
        )
        button = self._with_button(handlers)
        publishing = self._threads.start("publisher", lambda: publisher.run(self._signals.stopping))
        delivering = self._with_supervisor(wiring) if self._with_deliverer else None
        self._say_started()
        self._watch()
        self._notifier.stopping("finishing the recording")
        logger.info("stopping", action="daemon_stopping")
        if self._recorder is not None:
            self._recorder.stop()
        wiring.board.changed.set()
        if button is not None:
            button.close()
        if self._status_led is not None:
            self._status_led.stop()
        recording.join(STOP_SECONDS)
        publishing.join(PUBLISHER_SECONDS)
        if self._led_thread is not None:
            self._led_thread.join(LIGHT_SECONDS)
        control.close()
        if delivering is not None:
            delivering.join(DELIVERER_SECONDS)
        if recording.is_alive():
            logger.error(
                "the recorder did not stop in time; its file is repaired at the next start",
                action="daemon_stop_late",
            )
        logger.info("stopped", action="daemon_stopped")
        return 1 if self._threads.died or recording.is_alive() else 0

    def _say_started(self) -> None:
        config = self._loaded.config
        logger.info(
            "started",
            action="daemon_started",
            version=__version__,
            mode=config.recording.mode,
            input=config.audio.input,
            state=str(self._state.path),
        )
        if self._settings_problem is not None:
            logger.error(
                "the settings are wrong; the last good ones are in use",
                action="config_last_good",
                reason=self._settings_problem,
            )
        elif self._last_good is not None and self._loaded.file is not None:
            keep(self._loaded.file, self._last_good, self._wiring.disk)
            note_place(self._last_good.parent, self._state.path, self._wiring.disk)
        self._notifier.ready("starting")

    # recording

    def _record(self) -> None:
        """Build the recorder and run it; what cannot be built is a state, and tried again."""
        wiring, trigger = self._wiring, None
        while not self._signals.stopping.is_set():
            try:
                trigger = trigger or wiring.trigger()
                self._recorder = wiring.recorder(
                    wiring.source(), trigger, unattended=True, before=self._account_before
                )
                self._recorder.run()
            except AgentError as error:
                self._recorder = None
                self._show_fault(error, is_wanted=trigger is not None and trigger.spec() is not None)
                self._signals.stopping.wait(RETRY_SECONDS)
            else:
                return

    def _account_before(self, began: Instant) -> None:
        """Account for the time before this start, before anything is recorded."""
        self._downtime.recount(self._days, began)
        self._downtime.note(began)

    def _account(self) -> None:
        """Read what earlier runs left; then ask the calendar about absences, and write the days that are over."""
        self._downtime.poll()
        is_by_calendar = self._loaded.config.recording.mode == "schedule"
        while not self._signals.stopping.wait(JUDGE_SECONDS if is_by_calendar else DAYS_SECONDS):
            if is_by_calendar:
                self._downtime.judge()
            self._close_days()

    def _close_days(self) -> None:
        wiring = self._wiring
        try:
            self._days.close(wiring.now(), is_recording=wiring.board.snapshot.recording is not None)
        except OSError as error:
            if not self._days_failed:
                logger.error(
                    "the sums of days cannot be written; tried again", action="days_failed", error=error
                )
            self._days_failed = True
        else:
            self._days_failed = False

    def _show_fault(self, error: AgentError, *, is_wanted: bool) -> None:
        board, gap_tracker, now = self._wiring.board, self._wiring.gap_tracker, self._wiring.now()
        self._account_before(now)
        if is_wanted:
            gap_tracker.lost(Cause.FAULT, now)
        else:
            gap_tracker.ended(now)
        if board.snapshot.fault != str(error):
            logger.error("it cannot record, and tries again", action="recorder_fault", reason=str(error))
        board.report(state=State.FAULT, fault=str(error), fault_hint=error.hint)
        board.progress()

    def _present(self) -> Recorder:
        """Return the recorder; one that is just being made is waited for."""
        clock = self._wiring.clock
        deadline = clock.monotonic() + STARTING_SECONDS
        while (
            self._recorder is None
            and self._wiring.board.snapshot.fault is None
            and clock.monotonic() < deadline
            and not self._signals.stopping.wait(0.05)
        ):
            pass
        if self._recorder is None:
            raise self._why_absent()
        return self._recorder

    def _why_absent(self) -> AgentError:
        now = self._wiring.board.snapshot
        if now.fault is None:
            return AgentError("the recorder is just starting", "ask again")
        return sentence_of(now.fault, now.fault_hint)

    def _with_supervisor(self, wiring: RecorderWiring) -> threading.Thread:
        """Start the deliverer, and look after it."""
        other = deliverer_seen(wiring.state, boot_id=wiring.boot_id, monotonic=wiring.clock.monotonic)
        supervisor = self._supervisor = Supervisor(
            wiring.state, other, self._config_path, wiring.clock.monotonic
        )
        return self._threads.start("deliverer", lambda: supervisor.run(self._signals.stopping))

    # LED and button

    def _lit(self) -> StatusLed | None:
        """Start the LED; one that is missing or forbidden is a warning, never a stop."""
        wiring = self._wiring
        try:
            driver = led_driver_for(self._loaded.config.led)
        except AgentError as error:
            logger.warning("there is no LED", action="led_failed", reason=str(error))
            return None
        if driver is None:
            return None
        status_led = StatusLed(
            driver, lambda: condition(wiring.board.snapshot, self._publisher.counts), wiring.clock.wait
        )
        outcome = recent_outcome(wiring.clock.boottime())
        if outcome is not None and outcome.accepted:
            status_led.identify(OUTCOME_SECONDS)
        elif outcome is not None:
            status_led.show_refused(OUTCOME_SECONDS)
        self._led_thread = self._threads.start("light", status_led.run)
        return status_led

    def _with_button(self, handlers: RecorderHandlers) -> Button | None:
        """Listen to the button; one that is missing or forbidden is a warning, never a stop."""
        gpio = self._loaded.config.button.gpio
        if not gpio:
            return None
        try:
            return Button(gpio, handlers.pressed, handlers.held, self._wiring.clock.monotonic)
        except AgentError as error:
            logger.warning("there is no button", action="button_failed", reason=str(error))
            return None

    # watching

    def _is_alive(self) -> bool:
        return self._wiring.board.since_progress() < STALLED_SECONDS

    def _disk_fails(self) -> bool:
        return self._recorder is not None and self._recorder.disk_fails

    def _reload_quietly(self) -> None:
        super()._reload_quietly()
        if self._supervisor is not None:
            self._supervisor.reload()

    def _turn(self) -> None:
        super()._turn()
        self._publisher.manual = self._recorder is not None and self._recorder.manual is not None

    def _sentence(self) -> str:
        return sentence(self._wiring.board.snapshot, self._publisher.counts)
