"""The index is deleted after every single step, against a server that ignores Idempotency-Key."""

from pathlib import Path

from cases import Case, no_damage, report, steps_of_life, suffer
from crash_setup import Driver, Ground, clear, fresh_seed, in_parallel, say, segment_factory, shuffled, sound
from faults import DELETED, KILL
from scenes import forget_index

SWITCHES = {"honour_idempotency": False}


def test_without_its_index_the_agent_sends_nothing_twice() -> None:
    """Deleted while the agent runs, and after a kill, at every step: the server holds the audio exactly once."""
    seed = fresh_seed()
    with segment_factory("index") as folder:
        wav = sound(folder, 4)
        driver = Driver()
        steps = steps_of_life(driver, folder / "calm", wav)
        driver.close()
        cases = [Case(kind, at, step) for kind in (KILL, DELETED) for at, step in enumerate(steps)]

        def one(driver: Driver, item: tuple[int, Case]) -> Case:
            number, case = item
            where = folder / str(number)
            damage = no_damage if case.kind == DELETED else forget_index
            result = suffer(driver, where, wav, case, switches=SWITCHES, damage=damage)
            clear(where)
            return result

        results = in_parallel(enumerate(shuffled(cases, seed)), one)

    titles = {KILL: "killed, and the index deleted", DELETED: "deleted while running"}
    bad = [
        each
        for kind, title in titles.items()
        for each in report(title, [case for case in results if case.kind == kind])
    ]
    assert not bad


def test_without_sidecars_the_oracle_finds_audio_sent_twice(tmp_path: Path) -> None:
    """The control: with the sidecars gone too, the audio gets to the server twice, and the oracle says so."""

    def forget_all(ground: Ground) -> None:
        forget_index(ground)
        for path in ground.state.glob("*/*.json"):
            path.unlink()

    wav = sound(tmp_path, 4)
    driver = Driver()
    steps = steps_of_life(driver, tmp_path / "calm", wav)
    case = Case(KILL, steps.index("call.complete"), "call.complete")
    with_sidecars = suffer(driver, tmp_path / "with", wav, case, switches=SWITCHES, damage=forget_index)
    without = suffer(driver, tmp_path / "without", wav, case, switches=SWITCHES, damage=forget_all)
    driver.close()
    say(f"control: {without}")
    assert not with_sidecars.complaints
    assert any("two recordings" in complaint for complaint in without.complaints)
