"""The house rules that a machine can check: imports flow one way, log records have actions, commands have help."""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from process_limits import NOT_IN_THE_RECORDER, NOT_OF_THE_PAGE

from agent import __version__
from agent.cli.root import COMMANDS, root

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "agent"
FILES = sorted(AGENT.rglob("*.py"))

# Where a package stands; it may import only what has a smaller number, or itself.
FLOORS = {
    "errors": 0, "hints": 0, "bounds": 0, "text": 0, "zone": 0, "identity": 0,
    "log": 1, "clock": 2, "disk": 2, "small_file": 2, "sha256": 0, "json_file": 2.5,
    "config": 3, "host": 4, "audio": 5, "process": 5,
    "capture": 6, "timing": 6, "gaps": 6, "control": 6, "status": 7,
    "environment": 7.5, "panel": 8, "recording": 8, "outbox": 9, "recorder": 10,
    "api": 8, "index": 10, "token": 11, "sync": 12, "publish": 8, "deliverer": 13,
    "facade": 14, "doctor": 15, "sandbox": 5, "terminal": 5, "report": 5, "provision": 15, "web": 15,
    "demo": 15, "cli": 16,
}  # fmt: skip


def room_of(module: str) -> str:
    """Return the package or top-level module a dotted name stands in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports_of(path: Path) -> set[str]:
    """Return the modules of ours that a file imports, also late."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "agent":
            names = (
                [f"agent.{alias.name}" for alias in node.names] if node.module == "agent" else [node.module]
            )
            found.update(names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.startswith("agent."))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_flow_one_way(path: Path) -> None:
    """A package imports only what stands to its left."""
    room = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if room in {"", "__init__"}:
        return
    for module in imports_of(path):
        other = room_of(module)
        if other not in {room, "__version__"}:
            assert FLOORS[other] < FLOORS[room] or (FLOORS[other] == FLOORS[room] == 0), (
                f"{path} imports {module}"
            )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_log_record_has_an_action(path: Path) -> None:
    """Text and JSON come from one call, which names what happened."""
    names = {"log", "logger"}
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in names
            and node.func.attr in {"debug", "info", "warning", "error", "exception", "critical"}
        ):
            assert "action" in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"


SYNC_FLOORS = {"pacing": 1, "rules": 1, "": 2, "remote": 3}


def sync_room_of(module: str) -> str:
    """Return the room of ``agent.sync`` a dotted name stands in, empty for none."""
    rest = module.split(".")[2:]
    return rest[0] if rest and rest[0] in SYNC_FLOORS else ""


@pytest.mark.parametrize(
    "path", sorted((AGENT / "sync").rglob("*.py")), ids=lambda path: str(path.relative_to(AGENT))
)
def test_the_rooms_of_sync_stand_in_order(path: Path) -> None:
    """Within ``agent/sync`` too a room imports only what stands above it."""
    room = sync_room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for module in imports_of(path):
        if module.startswith("agent.sync."):
            other = sync_room_of(module)
            assert other == room or SYNC_FLOORS[other] < SYNC_FLOORS[room], f"{path} imports {module}"


def all_commands() -> list[tuple[str, click.Command]]:
    """Return every command with its full name."""
    context = click.Context(root)
    found: list[tuple[str, click.Command]] = []
    for name in COMMANDS:
        command = root.get_command(context, name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {inner}", sub) for inner, sub in command.commands.items()]
    return found


@pytest.mark.parametrize(
    ("name", "command"), all_commands(), ids=lambda value: str(value) if isinstance(value, str) else ""
)
def test_every_command_and_option_has_help(name: str, command: click.Command) -> None:
    """Whoever types --help is told what the command and each of its options do."""
    assert command.help, name
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{name} {parameter.name}"


@pytest.mark.parametrize(
    "group", [name for name, command in all_commands() if isinstance(command, click.Group)] + [""]
)
def test_no_summary_is_cut(group: str) -> None:
    """On a terminal of 80 columns each command's sentence stands whole in the list of its group."""
    shown = CliRunner().invoke(root, [*group.split(), "--help"], terminal_width=80).output
    listed = shown.partition("Commands:\n")[2]
    assert listed
    assert "..." not in listed


def test_readme_names_every_command_and_no_other() -> None:
    """The table of commands in the README is the truth; in a row the group stands with the first of its commands."""
    table = (ROOT / "README.md").read_text().partition("\n## Commands\n")[2].partition("\n## ")[0]
    told: set[str] = set()
    for row in re.findall(r"^\| (`.*?) \| ", table, re.MULTILINE):
        group = ""
        for command in re.findall(r"`([^`]+)`", row):
            words = re.split(r" [\[A-Z]", command)[0].split()
            group = words[0] if len(words) > 1 else group
            told.add(" ".join(words if words[0] in COMMANDS else [group, *words]))
    there = dict(all_commands())
    groups = {name for name, command in there.items() if _is_only_a_group(command)}
    assert told == {name for name, command in there.items() if not command.hidden} - groups


def _is_only_a_group(command: click.Command) -> bool:
    return isinstance(command, click.Group) and not command.invoke_without_command


def test_the_capture_process_stays_small() -> None:
    """Importing the capture process's package imports nothing that a small process could do without."""
    heavy = ("logging", "msgspec", "httpx", "click", "sqlite3")
    script = f"import sys, agent.capture.child; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def closure_of(path: Path) -> set[str]:
    """Return every module, of ours and of others, that a file and all it imports of ours import, also late."""
    seen: set[str] = set()
    todo = [path]
    while todo:
        for node in ast.walk(ast.parse(todo.pop().read_text())):
            found: list[str] = []
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for module in found:
                file = AGENT.parent / Path(*module.split("."))
                candidates = (file.with_suffix(".py"), file / "__init__.py")
                if module not in seen and module.startswith("agent"):
                    todo += [candidate for candidate in candidates if candidate.exists()]
                seen.add(module)
    return seen


NOT_IN_THE_DELIVERER = NOT_OF_THE_PAGE | {
    "pyaudio",
    "agent.capture",
    "agent.host.sound_cards",
    "agent.recorder",
}


@pytest.mark.parametrize(
    ("process", "forbidden"),
    [("recorder", NOT_IN_THE_RECORDER), ("deliverer", NOT_IN_THE_DELIVERER)],
)
def test_neither_process_imports_what_is_the_others(process: str, forbidden: set[str]) -> None:
    """Neither at once nor late: who hears has no network and no SQLite, who talks has no microphone."""
    modules = closure_of(AGENT / process / "process.py")
    assert f"agent.{process}.wiring" in modules
    assert {
        name for name in forbidden if any(f"{module}.".startswith(f"{name}.") for module in modules)
    } == set()


def test_types_are_looked_into_at_import() -> None:
    """No thread is the first to decode a type: that is a race which ends in a segmentation fault."""
    late = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("msgspec."):
                decodes = node.func.attr == "decode" if isinstance(node.func, ast.Attribute) else False
                if decodes and any(keyword.arg == "type" for keyword in node.keywords):
                    late.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not late


def test_uninstalling_knows_every_file_of_the_state_directory() -> None:
    """In a folder of the owner's own choice it deletes what is the recorder's, all of it, and by name."""
    script = (ROOT / "systemd/uninstall").read_text()
    files = re.compile(r"""^(?:FILE|[A-Z]+_NAME) = "([^"]+)\"""", re.MULTILINE)
    rooms = (
        "host",
        "gaps",
        "timing",
        "recording",
        "outbox",
        "index",
        "recorder",
        "deliverer",
        "api",
        "token",
        "sync",
    )
    sources = [path for room in rooms for path in sorted((AGENT / room).rglob("*.py"))]
    state = [name for path in sources for name in files.findall(path.read_text())]
    assert len(state) >= 10
    for name in ["outbox.db", "daemon.lock", *state]:
        assert name in script or name.startswith("device-token"), name


def test_the_version_stands_twice_and_is_one() -> None:
    """Tools read it from the project file, the program from its package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__


def test_files_fit_in_the_head() -> None:
    """No file of the agent is much longer than 300 lines."""
    long = {
        str(path.relative_to(ROOT)): count
        for path in FILES
        if (count := len(path.read_text().splitlines())) > 340
    }
    assert not long


MOST_PARTS = 6
"""With more, nobody sees what a class works with."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_made_from_more_than_six_parts(path: Path) -> None:
    """A constructor takes at most six parameters; what belongs together is one value."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ClassDef):
            continue
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                given = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs]
                assert len(given) - 1 <= MOST_PARTS, f"{node.name} takes {len(given) - 1}"
        if any(ast.unparse(decorator) == "dataclass" for decorator in node.decorator_list):
            fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
            made = [each for each in fields if "init=False" not in ast.unparse(each)]
            assert len(made) <= MOST_PARTS, f"{node.name} takes {len(made)}"


RETIRED = {
    "lineage",
    "lineages",
    "ticket",
    "tickets",
    "ballast",
    "ledger",
    "vitals",
    "patience",
    "truetime",
    "wish",
    "wishes",
    "outlet",
    "outlets",
    "lamp",
    "lamps",
    "ear",
    "ears",
    "workshop",
    "studio",
    "crowding",
    "desk",
    "daemon",
    "wires",
    "conclusions",
    "conclusion",
}
"""Words of an earlier vocabulary: the glossary in docs/architecture.md has the ones that took their place."""


def words_of(token: tokenize.TokenInfo) -> set[str]:
    """Return the words of a name, a comment or a sentence; a text without spaces is a name on disk or in the log."""
    text = token.string
    if token.type == tokenize.STRING and " " not in text.strip():
        return set()
    if token.type not in {tokenize.NAME, tokenize.COMMENT, tokenize.STRING}:
        return set()
    if token.type == tokenize.NAME and text == "daemon":  # of threading.Thread
        return set()
    text = re.sub(r"``.*?``", "", text, flags=re.DOTALL)
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", text)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_retired_word_comes_back(path: Path) -> None:
    """One word for one thing: names, comments and sentences use those of the glossary."""
    assert list(retired_in(path, RETIRED)) == []


def test_tests_use_the_same_words() -> None:
    """Whoever reads a test of a thing finds the thing by its name."""
    here = Path(__file__)
    levels = [here.parents[1] / level for level in ("unit", "integration", "acceptance")]
    files = [path for level in levels for path in sorted(level.rglob("*.py")) if path != here]
    words = RETIRED - {"daemon", "desk", "patience", "wires"}
    found = {str(path.relative_to(ROOT)): list(retired_in(path, words)) for path in files}
    assert {path: lines for path, lines in found.items() if lines} == {}


def retired_in(path: Path, words: set[str]) -> Iterator[str]:
    """Yield where in a file a word stands that is out."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if found := words_of(token) & words:
                yield f"line {token.start[0]}: {found}"


def test_the_words_are_looked_for() -> None:
    """A control: each of these lines would be found, and a file's own name would not."""
    for line, bad in [
        ("self._lineage = 1", True),
        ("class UploadTicket: pass", True),
        ('"""Return the outlet."""', True),
        ("# the ear is restarted", True),
        ('FILE = "lineages.json"', False),
        ('"""What ``lineages.json`` holds."""', False),
        ("_clear = year = 1", False),
        ("class NoDaemon: pass", True),
        ("Thread(target=run, daemon=True)", False),
    ]:
        tokens = tokenize.tokenize(io.BytesIO(line.encode()).readline)
        assert any(words_of(token) & RETIRED for token in tokens) is bad, line


ROOMS = sorted({path.parent for path in FILES})
A_FILE_FOR_EACH_COMMAND = AGENT / "cli"


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_has_at_most_a_dozen_files(room: Path) -> None:
    """What has more is two rooms."""
    files = [path.name for path in room.glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= 12 or room == A_FILE_FOR_EACH_COMMAND, files


def test_the_architecture_page_names_what_is_there() -> None:
    """Whoever wants to add something is led to a file or a room that exists."""
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    named = re.findall(r"`(agent/[a-z_/.]+)`", page)
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_architecture_page_names_functions_that_are_there() -> None:
    """The ways of a recording and of a setting lead to what they name."""
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    named = re.findall(r"`(agent/[a-z_/]+\.py)` `([\w.]+)`", page)
    assert len(named) > 15
    assert [(path, name) for path, name in named if name not in defined_in(ROOT / path)] == []


def defined_in(path: Path) -> set[str]:
    """Return the names of a file's functions and classes, and of their methods with the class before them."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return found
