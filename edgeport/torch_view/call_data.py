"""Calls of a torch module, as a DataLoader gives them, as samples of its graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeport.calibration.fit import LABEL_NAMES
from edgeport.errors import CalibrationError, UsageError
from edgeport.sample import Array
from edgeport.torch_view.calls import CallForm, as_call

_LABEL = LABEL_NAMES[0]


def read_calls(form: CallForm, given: Any, labels: Iterable[Any] | None = None) -> Any:
    """The samples of a sequence of calls, one mapping of input name to array each; labels stand under `label`.

    Args:
        form: of the calls.
        given: an iterable of calls (tensors, tuples, mappings), single or in batches; a tensor is one batch. Mappings
            may hold labels under the names that calibration data has for them. Paths and callables are returned as
            they are: `edgeport.calibration` opens them.
        labels: one for each sample.

    Raises:
        CalibrationError: a call does not fit the form, or there are more or fewer labels than samples.
        UsageError: labels beside data that hold their own.
    """
    if isinstance(given, str | Path) or (callable(given) and not isinstance(given, torch.nn.Module)):
        if labels is not None:
            raise UsageError("labels beside a path or a callable: its samples hold their own")
        return given
    found: list[dict[str, Array]] = []
    for index, call in enumerate(_calls(given)):
        found.extend(_samples(form, call, f"sample {index}"))
    if not found:
        raise CalibrationError("there are no samples")
    if labels is None:
        return found
    told = [np.asarray(label) for label in labels]
    if len(told) != len(found):
        raise CalibrationError(f"there are {len(told)} labels for {len(found)} samples")
    return [sample | {_LABEL: label} for sample, label in zip(found, told, strict=True)]


def _calls(given: Any) -> Iterable[Any]:
    if isinstance(given, torch.Tensor | np.ndarray):
        return [given]
    if isinstance(given, Mapping):
        raise CalibrationError("samples are one mapping; give a list of calls, or a DataLoader")
    try:
        calls: Iterable[Any] = iter(given)
    except TypeError:
        raise CalibrationError(f"samples are a {type(given).__name__}; give a list of calls, or a DataLoader") from None
    return calls


def _samples(form: CallForm, call: Any, where: str) -> list[dict[str, Array]]:
    args, kwargs = as_call(call, where)
    names = [n for n in LABEL_NAMES if n in kwargs and n not in form.signature.parameters]
    held = {name: kwargs.pop(name) for name in names}
    samples = form.samples(args, kwargs, where)
    if not held:
        return samples
    labels = np.asarray(held[names[0]])
    split = labels[None] if len(samples) == 1 and labels.shape[:1] != (1,) else labels
    if len(split) != len(samples):
        raise CalibrationError(f"{where} holds {len(split)} labels for {len(samples)} samples")
    return [sample | {_LABEL: label} for sample, label in zip(samples, split, strict=True)]
