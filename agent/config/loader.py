"""The settings in use: which file, what is wrong in it, and what has changed since it was read last.

Whether a key is right by itself is told by its type (``schema``), whether it goes with the others by
``contradictions``; ``toml_file`` reads and writes the file.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.config.contradictions import contradictions
from agent.config.schema import SYSTEM_FILE, Config
from agent.config.toml_file import ENVIRONMENT_VARIABLE, read, render
from agent.errors import ConfigError

__all__ = ["LoadedConfig", "changed_keys", "check", "load", "locate", "render"]


class LoadedConfig(NamedTuple):
    """The settings in use and the file they came from (None: the defaults)."""

    config: Config
    file: Path | None


def locate(path: Path | None, environ: Mapping[str, str], system_file: Path) -> Path | None:
    """Return the file in use: the named one, the environment's, the system's when there is one, or None."""
    if path is not None:
        return path
    if named := environ.get(ENVIRONMENT_VARIABLE):
        return Path(named)
    try:
        os.lstat(system_file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return system_file  # there, but not for us: reading it will say so
    return system_file


def load(path: Path | None, environ: Mapping[str, str], *, system_file: Path = SYSTEM_FILE) -> LoadedConfig:
    """Return the settings in use; ConfigError holds one sentence a line, one for each thing that is wrong."""
    file = locate(path, environ, system_file)
    if file is None:
        return LoadedConfig(Config(), None)
    config, sentences = read(file, Config, contradictions)
    if config is None:
        raise ConfigError("\n".join(sentences))
    return LoadedConfig(config, file)


def check(path: Path) -> list[str]:
    """Return one sentence for each thing that is wrong with a file, none for a good one."""
    return read(path, Config, contradictions)[1]


def changed_keys(old: Config, new: Config) -> list[str]:
    """Return the dotted keys whose values differ, in the order of the schema."""
    before, after = msgspec.to_builtins(old), msgspec.to_builtins(new)
    return [
        f"{section}.{key}"
        for section in after
        for key in after[section]
        if before[section][key] != after[section][key]
    ]
