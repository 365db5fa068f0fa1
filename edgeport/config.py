"""edgeport.toml: the flags of the command line in a file, under the same names.

A flag beats the file. Relative paths in the file are relative to the file, so that it can be used from anywhere.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from edgeport.errors import UsageError
from edgeport.suggest import did_you_mean

FILE_NAME = "edgeport.toml"
_PATHS = ("source", "calib", "data", "metric", "statistics", "out", "tokenizer", "labels")


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str] | None, BeforeValidator(_split)]
"""`"a,b"` or `["a", "b"]`."""
Entries = Annotated[list[str] | None, BeforeValidator(_listed)]
"""One string or a list of strings; commas belong to the string."""


class Config(BaseModel):
    """The keys of edgeport.toml. None means that the file leaves the choice to the command's default.

    A key that a command has no flag for is ignored by that command: one file serves all of them.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=lambda name: name.replace("_", "-")
    )

    source: str | None = None
    target: Names = None
    profile: Names = None
    precision: str | None = None
    scheme: str | None = None
    ranges: str | None = None
    calib: str | None = None
    data: str | None = None
    input: Entries = None
    shapes: Entries = None
    shapes_as: str | None = None
    state: Entries = None
    input_layout: str | None = None
    io_dtype: str | None = None
    block_size: int | None = None
    group_size: int | None = None
    sparsity: float | None = None
    layer_precision: Entries = None
    image_input: bool | None = None
    build_engine: bool | None = None
    labels: str | None = None
    metric: str | None = None
    budget: Entries = None
    statistics: str | None = None
    out: str | None = None
    tokenizer: str | None = None
    passes_drop: Names = None
    passes_add: Names = None
    cache: bool | None = None
    allow_suspicious_data: bool | None = None
    preprocessing: dict[str, Any] | None = Field(default=None)


def load_config(path: Path) -> Config:
    """Reads a configuration file; its relative paths come back relative to the caller.

    Raises:
        UsageError: the file cannot be read, is not TOML, has an unknown key or a value of the wrong kind.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error
    try:
        config = Config.model_validate(table)
    except ValidationError as error:
        raise UsageError(f"{path}: {_first_problem(error)}") from error
    located = {
        key: str(path.parent / Path(value).expanduser())
        for key in _PATHS
        if (value := getattr(config, key)) is not None
    }
    return config.model_copy(update=located)


def _first_problem(error: ValidationError) -> str:
    """The first of pydantic's findings in the words of the file."""
    problems = error.errors(include_url=False)
    first = problems[0]
    key = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        names = [field.alias or name for name, field in Config.model_fields.items()]
        text = f"unknown key {key!r}; {did_you_mean(key, names)}"
    else:
        text = f"{key} = {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"
    return text if len(problems) == 1 else f"{text} (and {len(problems) - 1} more)"
