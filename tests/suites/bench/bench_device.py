"""The agent as a device has it: a virtual environment with what it needs to run, and nothing for tests."""

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / ".bench"
"""Everything the benchmark builds and writes; on the same disk as the checkout."""
_SCRIPT = """\
#!{python}
import sys
from agent.cli import main
sys.exit(main())
"""


CONTROL = "BENCH_CONTROL"
_LOAD_CONTROL = f"import os; {CONTROL!r} in os.environ and __import__('bench_control')\n"


def environment(base: dict[str, str] | None = None, control: str = "") -> dict[str, str]:
    """Return an environment without Python's own switches: they change what start-up costs.

    ``control`` names what makes the agent dearer in it (``bench_control``).
    """
    given = dict(os.environ) if base is None else base
    kept = {name: value for name, value in given.items() if not name.startswith("PYTHON")}
    return kept | ({CONTROL: control} if control else {})


class Device:
    """The virtual environment ``.bench/venv``, kept until the dependencies or the interpreter change."""

    def __init__(self) -> None:
        self._venv = FOLDER / "venv"
        self._python = self._venv / "bin" / "python"
        self._script = self._venv / "bin" / "recorder-agent"

    def build(self) -> None:
        """Make it where it is missing or old, and compile the agent, as an installation does."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        wanted = repr((sys.version, str(ROOT), project["dependencies"]))
        stamp, digest = self._venv / "made-from", hashlib.sha256(wanted.encode()).hexdigest()
        if not stamp.is_file() or stamp.read_text() != digest:
            run(sys.executable, "-m", "venv", "--clear", str(self._venv))
            pip = (str(self._python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
            run(*pip, *project["dependencies"])
            site = next(self._venv.glob("lib/python*/site-packages"))
            (site / "recorder_agent.pth").write_text(f"{ROOT}\n")
            self._script.write_text(_SCRIPT.format(python=self._python))
            self._script.chmod(0o755)
            stamp.write_text(digest)
        site = next(self._venv.glob("lib/python*/site-packages"))
        shutil.copy(Path(__file__).with_name("bench_control.py"), site)
        (site / "zz_bench_control.pth").write_text(_LOAD_CONTROL)
        run(str(self._python), "-m", "compileall", "-q", str(ROOT / "agent"))

    def agent(self, config: Path, *arguments: str) -> list[str]:
        """Return the command line of the agent."""
        return [str(self._script), "--config", str(config), *arguments]


def run(*command: str) -> None:
    """Run a command of the set-up; what it says is shown when it fails."""
    done = subprocess.run(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}")
