"""All sentences that a person can meet, read from the code itself: errors, findings of the doctor, the installer's.

Nothing is listed by hand: whoever adds an error adds it here.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
BASE = "AgentError"
FINDINGS = {"warning", "critical"}
TYPED = "typed"
"""What spells a command of ours."""
SCRIPTS = ("systemd/install", "systemd/uninstall", "systemd/services", "packaging/system-packages")


class Sentence(NamedTuple):
    """Something that is said to a person."""

    where: str
    """File and line."""
    what: str
    hint: str
    """Empty where there is none."""


class Command(NamedTuple):
    """A command that a person is told to type; what is known only when it is said is ``{…}``."""

    where: str
    text: str


def sources() -> dict[Path, ast.Module]:
    """Return the agent's modules."""
    return {path: ast.parse(path.read_text("utf-8")) for path in sorted((ROOT / "agent").rglob("*.py"))}


def families(modules: dict[Path, ast.Module]) -> set[str]:
    """Return the names of all classes of errors that a person may meet."""
    found, before = {BASE}, 0
    classes = [
        node for module in modules.values() for node in ast.walk(module) if isinstance(node, ast.ClassDef)
    ]
    while len(found) != before:
        before = len(found)
        found |= {each.name for each in classes if any(ast.unparse(base) in found for base in each.bases)}
    return found


def errors(modules: dict[Path, ast.Module]) -> Iterator[Sentence]:
    """Yield what errors say: where one is made, and where a class of them makes its own sentence."""
    family = families(modules)
    own = _with_own_sentences(modules, family)
    for path, module in modules.items():
        for node in ast.walk(module):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            if name in family - own or (name == "super().__init__" and _class_of(module, node) in own):
                yield _sentence(path, node)


def _with_own_sentences(modules: dict[Path, ast.Module], family: set[str]) -> set[str]:
    """Return the classes that are made from something else than a message."""
    found = set()
    for module in modules.values():
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef) and node.name in family - {BASE}:
                makes = [
                    each
                    for each in node.body
                    if isinstance(each, ast.FunctionDef) and each.name == "__init__"
                ]
                if makes and makes[0].args.args[1].arg != "message":
                    found.add(node.name)
    return found


def _class_of(module: ast.Module, call: ast.Call) -> str:
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef) and any(inner is call for inner in ast.walk(node)):
            return node.name
    return ""


def findings(modules: dict[Path, ast.Module]) -> Iterator[Sentence]:
    """Yield what the doctor says of what is not well."""
    for path, module in modules.items():
        if path.parent.name == "doctor":
            for node in ast.walk(module):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in FINDINGS:
                    yield _sentence(path, node)


def of_scripts() -> Iterator[Sentence]:
    """Yield what the installer's scripts end with."""
    for name in SCRIPTS:
        text = (ROOT / name).read_text("utf-8").replace("\\\n", " ")
        for number, line in enumerate(text.splitlines(), 1):
            for said in re.findall(r"\b(?:fail|usage) ((?:\s*\"(?:[^\"\\]|\\.)*\")+)", line):
                sentence = " ".join(re.findall(r"\"((?:[^\"\\]|\\.)*)\"", said))
                what, _, hint = sentence.replace(": ", "; ", 1).partition("; ")
                yield Sentence(f"{name}:{number}", what, hint)


def _sentence(path: Path, call: ast.Call) -> Sentence:
    where = f"{path.relative_to(ROOT)}:{call.lineno}"
    if any(isinstance(argument, ast.Starred) for argument in call.args):  # both at once
        return Sentence(where, ast.unparse(call.args[0]), ast.unparse(call.args[0]))
    texts = [ast.unparse(argument) for argument in call.args[:2]]
    texts += [ast.unparse(each.value) for each in call.keywords if each.arg == "hint"]
    return Sentence(where, texts[0] if texts else "", texts[1] if len(texts) > 1 else "")


def ours(modules: dict[Path, ast.Module]) -> list[Command]:
    """Return the commands of ours that sentences name."""
    found = []
    for path, module in modules.items():
        for node in ast.walk(module):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func).rpartition(".")[2] == TYPED
                and node.args
            ):
                text = _filled(node.args[0])
                if text is not None:
                    found.append(Command(f"{path.relative_to(ROOT)}:{node.lineno}", text))
    return found


def of_the_system(modules: dict[Path, ast.Module]) -> list[Command]:
    """Return the other commands that stand in backquotes in what is said."""
    found = []
    for path, module in modules.items():
        comments = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
        inner = {
            id(part) for node in ast.walk(module) if isinstance(node, ast.JoinedStr) for part in node.values
        }
        for node in ast.walk(module):
            if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in comments | inner:
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                found += [Command(where, text) for text in re.findall(r"`([^`]+)`", _filled(node) or "")]
    return [each for each in found if "recorder-agent {" not in each.text and " " in each.text]


def _filled(node: ast.expr) -> str | None:
    """Return a text with the expressions in it in braces; None for what is no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        parts = (
            part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
        return "".join(map(str, parts))
    return None
