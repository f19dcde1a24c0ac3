"""How apt and pip reach their registries from a container: as on this host, whatever its settings are."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

_APT_PREFIXES = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")
_SECONDS = 60


@cache
def apt_options() -> str:
    """Return the host's proxies and checks of apt, as a configuration file."""
    lines = _lines("apt-config", "dump", "Acquire")
    return "".join(
        f"{line}\n" for line in lines if line.startswith(_APT_PREFIXES) and not line.endswith('"";')
    )


@cache
def pip_settings() -> dict[str, str]:
    """Return the host's settings of pip, those of its environment included, by name."""
    settings: dict[str, str] = {}
    for line in _lines(sys.executable, "-m", "pip", "config", "list"):
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in {":env:", "global", "install", "download"}:
            settings.setdefault(key, str(ast.literal_eval(value)))
    return settings


def pip_file() -> str:
    """Return the settings as /etc/pip.conf of a container."""
    lines = [f"{key} = {' '.join(value.split())}\n" for key, value in pip_settings().items()]
    return "[global]\n" + "".join(lines)


def pip_paths() -> list[Path]:
    """Return the files and folders of the host that the settings name: a container needs them at the same place."""
    paths = set()
    for word in " ".join(pip_settings().values()).split():
        url = urlsplit(word)
        if url.scheme == "file":
            paths.add(Path(url.path).parent)  # an index, and the files it points to beside it
        elif word.startswith("/"):
            paths.add(Path(word))
    return sorted(path for path in paths if path.exists() and path != Path("/"))


def _lines(*command: str) -> list[str]:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)
    return done.stdout.splitlines()
