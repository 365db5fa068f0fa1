"""Flags and edgeport.toml made into the arguments of an API call; a flag beats the file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeport.errors import UsageError

if TYPE_CHECKING:
    from edgeport.config import Config

_TO_API = {"input": "inputs", "passes_drop": "drop_passes", "passes_add": "add_passes"}
_INSTEAD = {"calib": "statistics", "statistics": "calib"}
"""A flag on the left is not taken from the file when the one on the right is on the command line."""
_TO_PATH = ("statistics", "tokenizer", "labels", "out")


def read_config(path: str | None, quiet: bool) -> Config:
    """The file named by `--config`, else the edgeport.toml of the current folder, else an empty configuration.

    Raises:
        UsageError: the file cannot be read or is wrong.
    """
    from edgeport.config import FILE_NAME, Config, load_config

    if path is not None:
        return load_config(Path(path))
    if not Path(FILE_NAME).is_file():
        return Config()
    if not quiet:
        print(f"edgeport: using ./{FILE_NAME}", file=sys.stderr)
    return load_config(Path(FILE_NAME))


def merge(flags: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Keyword arguments for an API function: what the flags say, else what the file says; unset ones are left out.

    Args:
        flags: flag name with underscores -> value; None or an empty tuple where it was not given.
        config: the configuration file.
    """
    arguments: dict[str, Any] = {}
    given = {name for name, value in flags.items() if value is not None and value != ()}
    for name, flag in flags.items():
        replaced = name in _INSTEAD and _INSTEAD[name] in given
        value = flag if name in given else None if replaced else getattr(config, name)
        if value is not None:
            arguments[_TO_API.get(name, name)] = Path(value) if name in _TO_PATH else value
    return arguments


def required(arguments: dict[str, Any], name: str, what: str) -> Any:
    """Takes an argument out, refusing its absence.

    Raises:
        UsageError: neither the command line nor the file has it.
    """
    if name not in arguments:
        raise UsageError(f"{what} is missing: give it on the command line or as `{name}` in edgeport.toml")
    return arguments.pop(name)
