"""A user's own metric, `--metric file.py:callable`, in one of two forms told apart by the number of parameters.

metric(run)                     the whole task: `run` maps a sample to the list of output arrays in the graph's
                                order; returns a number or a mapping name -> number. Called for the source and
                                for the artifact, with whatever data it loads itself.
metric(sample, outputs)         one sample: `outputs` maps names to arrays; returns a number. Averaged over the
metric(sample, outputs, label)  held-out samples, paired between source and artifact.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeport.entry import load_callable, user_code
from edgeport.errors import UsageError
from edgeport.sample import Array, Sample

Run = Callable[[Sample], list[Array]]


@dataclass(frozen=True)
class UserMetric:
    """A loaded metric.

    Attributes:
        name: the callable's name, under which a single number is reported.
        said: how the user gave it; starts every message.
        form: see the module.
        function: the callable.
        label: whether a per-sample metric takes the sample's label: never, when there is one, or always.
        file: the file it was loaded from, to name the line that fails.
    """

    name: str
    said: str
    form: Literal["task", "per-sample"]
    function: Callable[..., Any]
    label: Literal["never", "optional", "required"] = "never"
    file: Path | None = None


def load_metric(entry: str) -> UserMetric:
    """Loads `file.py:callable`.

    Raises:
        UsageError: the file or the callable cannot be used (see `load_callable`, `as_metric`).
    """
    function = load_callable(entry, "--metric")
    file, _, name = entry.rpartition(":")
    return as_metric(function, name, f"--metric {Path(file).name}:{name}", Path(file).resolve())


def as_metric(function: Callable[..., Any], name: str = "", said: str = "", file: Path | None = None) -> UserMetric:
    """Finds out the form of a callable from its parameters without a default.

    Args:
        function: the metric.
        name: name to report; the function's own by default.
        said: how to call it in messages.
        file: where it comes from.

    Raises:
        UsageError: the parameters fit neither form.
    """
    name = name or str(getattr(function, "__name__", type(function).__name__))
    said = said or f"metric {name}"
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise UsageError(f"{said}: its parameters cannot be read ({error}); wrap it in a plain function") from error
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise UsageError(f"{said} takes *{_star(parameters)}; write metric(run) or metric(sample, outputs)")
    named = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in positional)
    if named or required not in (1, 2, 3):
        raise UsageError(
            f"{said} takes {required + len(named)} required parameters; write metric(run), metric(sample, outputs) "
            "or metric(sample, outputs, label)"
        )
    if required == 1:
        return UserMetric(name, said, "task", function, file=file)
    optional = required == 2 and len(positional) > 2 and positional[2].name == "label"
    label: Literal["never", "optional", "required"] = (
        "required" if required == 3 else "optional" if optional else "never"
    )
    return UserMetric(name, said, "per-sample", function, label, file)


def task_values(metric: UserMetric, run: Run) -> dict[str, float]:
    """Runs a task metric; a single number is reported under the metric's name.

    Raises:
        UsageError: the metric raised, or returned something else than finite numbers.
    """
    with user_code(metric.said, metric.file):
        result = metric.function(run)
    if not isinstance(result, Mapping):
        return {metric.name: _number(metric, result)}
    if not result:
        raise UsageError(f"{metric.said} returned no value")
    return {str(name): _number(metric, value) for name, value in result.items()}


def sample_value(metric: UserMetric, sample: Sample, outputs: Mapping[str, Array], label: Any | None) -> float:
    """Runs a per-sample metric on one sample.

    Raises:
        UsageError: as `task_values`.
    """
    arguments: list[Any] = [sample, outputs]
    if metric.label == "required" or (metric.label == "optional" and label is not None):
        arguments.append(label)
    with user_code(metric.said, metric.file):
        result = metric.function(*arguments)
    return _number(metric, result)


def _number(metric: UserMetric, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        expected = "a number" if metric.form == "per-sample" else "a number or a mapping of names to numbers"
        raise UsageError(f"{metric.said} must return {expected}, not {type(value).__name__}") from error
    if not math.isfinite(number):
        raise UsageError(f"{metric.said} returned {number}; a metric must be finite")
    return number


def _star(parameters: list[inspect.Parameter]) -> str:
    return next(p.name for p in parameters if p.kind is p.VAR_POSITIONAL)
