"""Results as tables for a reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def show_export(result: Any, console: Console) -> None:
    """The drift ladder of every target, and where the report is."""
    _show_json(result, console)


def show_inspect(result: Any, console: Console) -> None:
    """Inputs, outputs, operators, findings."""
    _show_json(result, console)


def show_calibrate(result: Any, console: Console) -> None:
    """Where the statistics are and what they cover."""
    _show_json(result, console)


def show_validate(result: Any, console: Console) -> None:
    """The drift of one artifact."""
    _show_json(result, console)


def show_targets(result: Any, console: Console) -> None:
    """One row a target."""
    _show_json(result, console)


def show_doctor(result: Any, console: Console) -> None:
    """One row a component."""
    _show_json(result, console)


def _show_json(result: Any, console: Console) -> None:
    data: Mapping[str, Any] = result.to_json()
    for key, value in data.items():
        console.print(f"{key}: {value}", markup=False)
