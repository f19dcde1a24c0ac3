"""What is asked of the two processes after each cell, and how long a cell is served."""

import time

from grammar import Cell
from lateness import Lateness
from pair import Pair

BAD_SECONDS, LONGEST_BAD_SECONDS = 1.0, 6.0
"""How long the server is bad at least, and at most while no call of the cell's kind comes."""
GOOD_SECONDS = 60.0
"""Within so long everything is to be delivered, the server being good again."""
MOST_SLOW = 10.0
"""How many times longer all this may take on a machine that is busy with something else; 1 on one that is not."""
PAUSE_SECONDS = 1.8
"""A page of 0.8 s is written at once: samples were not written for a second longer than that."""
TRIES = 12
"""Tries of one call for one recording while it is answered absurdly, for some seconds and with waits shortened:
a refused PUT asks for three URLs in a row at each try (api.md section 3), and four tries find room."""
BEATS_PER_SECOND, BEATS_OF_COMMANDS = 6.0, 20
"""The second: each command that is obeyed is answered by a heartbeat, and so many are obeyed in a minute."""
COMPLAINTS = 60
"""Lines of warnings and errors that one cell may cause in a process."""
LINE_CHARS = 8192
MEMORY_KIB = 60 * 1024
"""Of each process, at any time."""


def serve(pair: Pair, cell: Cell, lateness: Lateness) -> list[str]:
    """Answer by a cell for a while, then well; return what is wrong with how the two took it."""
    before = {name: len(pair.log_lines(name)) for name in pair.processes}
    pair.forget_pauses()
    pair.hostile.poison(cell)
    began = time.monotonic()
    slow = min(MOST_SLOW, lateness.slowness(began - 5))
    while time.monotonic() - began < LONGEST_BAD_SECONDS * slow and not pair.dead():
        if pair.hostile.poisoned and time.monotonic() - began >= BAD_SECONDS:
            break
        if cell.call == "refresh" and not pair.hostile.poisoned:
            pair.ask_for_refresh()
        time.sleep(0.02)
    served, steps = pair.hostile.poisoned, dict(pair.hostile.steps)
    pair.hostile.heal()
    healed = time.monotonic()
    wrong = [f"tried {count} times: {step}" for step, count in steps.items() if step[1] and count > TRIES]
    beats = steps.get(("heartbeat", ""), 0)
    if beats > BEATS_OF_COMMANDS + BEATS_PER_SECOND * (healed - began):
        wrong.append(f"{beats} heartbeats in {healed - began:.1f} s")
    if not served:
        wrong.append("no such call was made")
    while pair.missing(healed) and not pair.dead() and time.monotonic() - healed < GOOD_SECONDS * slow:
        time.sleep(0.02)
    if left := pair.missing(healed):
        wrong.append(f"{len(left)} not delivered {time.monotonic() - healed:.0f} s after it was well")
    slow = min(MOST_SLOW, lateness.slowness(began - 5))
    wrong += standing(pair, 2 * lateness.since(began) + PAUSE_SECONDS * slow)
    for name, count in before.items():
        wrong += talk(pair, name, count)
    return [f"{cell}: {each}" for each in wrong]


def standing(pair: Pair, pause: float) -> list[str]:
    """Return what is wrong with the two processes now, which may write nothing for ``pause`` seconds."""
    wrong = [f"the {name} has ended" for name in pair.dead()]
    if wrong:
        return wrong
    longest = max(pair.pauses, default=0.0)
    if longest > pause:
        wrong.append(f"nothing was written for {longest:.2f} s, {pause:.2f} s at most were allowed")
    wrong += [
        f"the {name} had {pair.most_memory(name)} KiB"
        for name in pair.processes
        if pair.most_memory(name) > MEMORY_KIB
    ]
    off = pair.times_off()
    return wrong + [f"{local}: {each}" for local, each in off.items()]


def talk(pair: Pair, name: str, since: int) -> list[str]:
    """Return what is wrong with what a process has logged since its first ``since`` lines."""
    lines = pair.log_lines(name)[since:]
    complaints = [
        line for line in lines if str(line.get("level")).lower() in {"warning", "error", "critical"}
    ]
    wrong = [f"a line of {line['length']} characters" for line in lines if line["length"] > LINE_CHARS]
    if any("Traceback" in str(line) for line in lines):
        wrong.append("a traceback in the log")
    if len(complaints) > COMPLAINTS:
        wrong.append(f"{len(complaints)} complaints of the {name}, the first {complaints[0].get('action')}")
    return wrong
