"""What time it was: boots with a wrong clock, jumps in both directions, NTP and the server's Date."""

import random
from itertools import pairwise
from pathlib import Path

import pytest
from simulated import BEGINNING, SimulatedClock

from agent.disk import Disk
from agent.timing.time_sync import NTP, SERVER, UNSYNCHRONIZED, TimeSync

YEARS = 5 * 365 * 86_400.0
WITHIN = 1000
"""Milliseconds; a corrected start is as close as this to the truth."""


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Make other choices each time, and say which."""
    seed = random.SystemRandom().getrandbits(32)
    print("seed", seed)
    random.seed(seed)


class Pi:
    """A machine without a clock of its own: the truth, what its clock says, and what it knows about it."""

    def __init__(self, folder: Path, wrong: float, boot: str = "boot-1", truth: float = BEGINNING) -> None:
        self.clock = SimulatedClock(wall=truth + wrong, monotonic=random.uniform(10, 100))
        self._truth_at_zero = truth - self.clock.monotonic()
        self.machine: str | None = UNSYNCHRONIZED
        self.boot = boot
        self.time = TimeSync(folder, Disk(), self.clock, boot, lambda: self.machine)

    @property
    def truth_ms(self) -> int:
        """The true unix time."""
        return round((self._truth_at_zero + self.clock.monotonic()) * 1000)

    def date(self, round_trip: float) -> None:
        """Hear an answer of the server: its header counts whole seconds, made anywhere within the call."""
        self.clock.sleep(random.uniform(0, round_trip))
        header = float(self.truth_ms // 1000)
        arrived = self.clock.monotonic() + round_trip / 2
        self.clock.sleep(round_trip / 2 + 0.2)
        self.time.learn_from_server(header, arrived, round_trip * 1.5)

    def dates(self, round_trip: float) -> None:
        """Hear two answers that are far enough apart to confirm each other."""
        self.date(round_trip)
        self.clock.sleep(31)
        self.date(round_trip)

    def lie(self, by: float) -> None:
        """Hear an answer whose header is wrong."""
        self.time.learn_from_server(self.truth_ms / 1000 + by, self.clock.monotonic(), 0.05)

    def synchronise(self) -> None:
        """NTP sets the clock."""
        self.clock.step((self.truth_ms / 1000) - self.clock.wall())
        self.machine = NTP


@pytest.mark.parametrize("wrong", [-BEGINNING, -3600.0, 3600.0, YEARS])
def test_ntp_corrects_what_was_captured_before(tmp_path: Path, wrong: float) -> None:
    """Booted in 1970, an hour off or years ahead: once NTP has come every earlier moment is known exactly."""
    pi = Pi(tmp_path, wrong)
    moment, truth = pi.time.instant(pi.clock.monotonic()), pi.truth_ms
    assert moment.clock == UNSYNCHRONIZED
    pi.clock.sleep(1234)
    pi.synchronise()

    corrected = pi.time.corrected(moment)

    assert corrected.clock == NTP
    assert abs(corrected.wall_ms - truth) <= 2
    assert pi.time.instant(pi.clock.monotonic()).clock == NTP


@pytest.mark.parametrize("round_trip", [0.05, 0.4, 8.0])
@pytest.mark.parametrize("wrong", [-BEGINNING, -4.0, -0.2, 3.0, YEARS])
def test_the_servers_date_serves_where_ntp_is_blocked(
    tmp_path: Path, wrong: float, round_trip: float
) -> None:
    """From any header, heard at any moment of its second, a start is corrected to within 1 s."""
    for _ in range(50):
        (tmp_path / "boots.json").unlink(missing_ok=True)
        pi = Pi(tmp_path, wrong)
        moment, truth = pi.time.instant(pi.clock.monotonic()), pi.truth_ms
        pi.clock.sleep(random.uniform(0, 5))
        pi.dates(round_trip)
        if round_trip > 1:
            pi.date(0.1)

        corrected = pi.time.corrected(moment)

        assert corrected.clock == SERVER
        assert abs(corrected.wall_ms - truth) <= WITHIN
        assert abs(pi.time.now_ms() - pi.truth_ms) <= WITHIN


def test_jumps_change_no_length_and_no_order(tmp_path: Path) -> None:
    """Moments before and after +5 years and -1 h are as far apart as they were, and in their order."""
    pi = Pi(tmp_path, 0.0)
    moments = []
    for jump in (0.0, YEARS, -3600.0, -YEARS, 0.0):
        pi.clock.step(jump)
        moments.append(pi.time.instant(pi.clock.monotonic()))
        pi.clock.sleep(100)

    steps = [pi.time.elapsed_ms(a, b) for a, b in pairwise(moments)]
    pi.synchronise()
    starts = [pi.time.corrected(moment).wall_ms for moment in moments]

    assert steps == [100_000] * 4
    assert starts == sorted(starts)
    assert max(abs(b - a - 100_000) for a, b in pairwise(starts)) <= 2


def test_a_wrong_clock_of_an_earlier_boot_is_corrected_after_the_next(tmp_path: Path) -> None:
    """The offset of a boot that learnt it before the power went is kept; one that never did leaves times unknown."""
    first = Pi(tmp_path, -BEGINNING, "boot-1")
    known, truth = first.time.instant(first.clock.monotonic()), first.truth_ms
    first.clock.sleep(500)
    first.dates(0.05)
    second = Pi(tmp_path, -3600.0, "boot-2", BEGINNING + 5000)
    unknown = second.time.instant(second.clock.monotonic())
    third = Pi(tmp_path, 0.0, "boot-3", BEGINNING + 9000)
    third.synchronise()
    now = third.time.instant(third.clock.monotonic())

    assert abs(third.time.corrected(known).wall_ms - truth) <= WITHIN
    assert third.time.corrected(unknown) == unknown
    assert third.time.elapsed_ms(known, now) == pytest.approx(9_000_000, abs=WITHIN)
    assert third.time.elapsed_ms(unknown, now) is None


def test_never_synchronised_it_says_so_and_ntp_wins_over_the_server(tmp_path: Path) -> None:
    """Without any source nothing is claimed; a header does not touch what NTP said."""
    pi = Pi(tmp_path, YEARS)
    assert pi.time.state() == UNSYNCHRONIZED
    moment = pi.time.instant(pi.clock.monotonic())
    assert pi.time.corrected(moment) == moment
    pi.synchronise()
    right = pi.time.now_ms()
    pi.time.learn_from_server(0.0, pi.clock.monotonic(), 0.01)
    pi.machine = UNSYNCHRONIZED
    pi.time.learn_from_server(0.0, pi.clock.monotonic(), 0.01)

    assert pi.time.corrected(moment).clock == NTP
    assert abs(pi.time.instant(pi.clock.monotonic()).wall_ms - right) <= 2


def test_a_damaged_file_of_boots_is_no_reason_to_stop(tmp_path: Path) -> None:
    """What was known is lost, what is learnt is kept again."""
    (tmp_path / "boots.json").write_bytes(b"\x00\x01")
    pi = Pi(tmp_path, -BEGINNING)
    assert pi.time.state() == UNSYNCHRONIZED
    pi.dates(0.05)

    assert TimeSync(tmp_path, Disk(), pi.clock, pi.boot, lambda: None).state() == SERVER


def test_only_fifty_boots_are_kept(tmp_path: Path) -> None:
    """A machine that boots every day for years keeps a small file, and this boot is always in it."""
    for number in range(60):
        pi = Pi(tmp_path, -BEGINNING, f"boot-{number}")
        pi.dates(0.05)
    again = TimeSync(tmp_path, Disk(), pi.clock, "boot-59", lambda: None)

    assert again.state() == SERVER
    assert len(again._boots) == 50


FAR = (-BEGINNING, -BEGINNING - 1869 * 31_556_952.0, 8000 * 31_556_952.0, 51 * 31_557_600.0)
"""From now to 1970, to the year 101, to the year 10,000, to more than 50 years ahead."""


@pytest.mark.parametrize("by", FAR)
def test_a_date_outside_of_the_programs_life_is_none(tmp_path: Path, by: float) -> None:
    """However often it is said, it is not believed; the true one still is."""
    pi = Pi(tmp_path, 3600.0)
    moment, truth = pi.time.instant(pi.clock.monotonic()), pi.truth_ms
    for _ in range(5):
        pi.lie(by)
        pi.clock.sleep(60)
    assert pi.time.state() == UNSYNCHRONIZED
    assert not (tmp_path / "boots.json").exists()

    pi.dates(0.05)

    assert abs(pi.time.corrected(moment).wall_ms - truth) <= WITHIN


def test_one_answer_is_no_proof_and_two_at_once_are_not(tmp_path: Path) -> None:
    """Two that agree must be 30 s apart; one that says something else begins anew."""
    pi = Pi(tmp_path, -3600.0)
    pi.date(0.05)
    pi.clock.sleep(5)
    pi.date(0.05)
    assert pi.time.state() == UNSYNCHRONIZED
    pi.clock.sleep(26)
    pi.lie(YEARS)
    pi.clock.sleep(5)
    pi.date(0.05)
    assert pi.time.state() == UNSYNCHRONIZED
    pi.clock.sleep(31)
    pi.date(0.05)
    assert pi.time.state() == SERVER


def test_an_answer_that_this_clock_confirms_counts_at_once(tmp_path: Path) -> None:
    """The machine's own clock is a second witness."""
    pi = Pi(tmp_path, 0.0)
    pi.date(0.05)
    assert pi.time.state() == SERVER


def test_what_a_server_told_can_be_taken_back(tmp_path: Path) -> None:
    """A wrong time that two answers agreed on ends with two that agree on another, for what was dated by it too."""
    pi = Pi(tmp_path, -3600.0)
    for _ in range(2):
        pi.lie(YEARS)
        pi.clock.sleep(31)
    dated, truth = pi.time.instant(pi.clock.monotonic()), pi.truth_ms
    assert dated.clock == SERVER
    assert dated.wall_ms - truth > YEARS * 900
    pi.date(0.05)
    assert abs(pi.time.corrected(dated).wall_ms - dated.wall_ms) <= WITHIN
    pi.clock.sleep(31)
    pi.date(0.05)

    assert abs(pi.time.corrected(dated).wall_ms - truth) <= WITHIN
    pi.synchronise()
    assert abs(pi.time.corrected(dated).wall_ms - truth) <= 2
    assert pi.time.corrected(dated).clock == NTP


class Busy(SimulatedClock):
    """A machine whose thread loses the processor before some of its readings of a clock."""

    def __init__(self, lost_before: set[int]) -> None:
        super().__init__()
        self._lost_before, self._readings = lost_before, 0

    def _read(self) -> float:
        if self._readings in self._lost_before:
            self.sleep(0.033)
        self._readings += 1
        return super().monotonic()

    def wall(self) -> float:
        """Unix time."""
        return BEGINNING - 1000.0 + self._read()

    def monotonic(self) -> float:
        """Seconds."""
        return self._read()

    def boottime(self) -> float:
        """Seconds."""
        return self._read()


@pytest.mark.parametrize("reading", range(7))
def test_a_thread_that_loses_the_processor_between_two_clocks_shifts_no_moment(
    tmp_path: Path, reading: int
) -> None:
    """Wherever it loses it, the moment is the one that was asked for."""
    time = TimeSync(tmp_path, Disk(), Busy({reading, reading + 1}), "boot-1", lambda: UNSYNCHRONIZED)
    instant = time.instant(1000.0)
    assert abs(instant.boot_ms - 1_000_000) <= 1
    assert abs(instant.wall_ms - BEGINNING * 1000) <= 1
