"""Samples as the tensors that a file takes, and what it gives as arrays of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from edgeport.errors import UsageError
from edgeport.sample import Array, Sample
from edgeport.targets.values import dtype_of, shape_of


def feeds(graph: ir.Model, sample: Sample, file: str) -> list[torch.Tensor]:
    """The inputs in order.

    Raises:
        UsageError: the sample does not fit the graph's inputs.
    """
    names = [v.name or "" for v in graph.graph.inputs]
    if set(sample) != set(names):
        raise UsageError(f"the sample has inputs {sorted(sample)}, {file} takes {sorted(names)}")
    tensors = []
    for value, name in zip(graph.graph.inputs, names, strict=True):
        array = np.asarray(sample[name])
        if array.shape != shape_of(value):
            raise UsageError(f"input {name!r} has shape {array.shape}, {file} takes {shape_of(value)}")
        tensors.append(torch.from_numpy(np.array(array, dtype_of(value), order="C")))
    return tensors


def results(graph: ir.Model, given: Any, file: str) -> dict[str, Array]:
    """The outputs by name.

    Raises:
        UsageError: they are not those of the graph.
    """
    tensors = [given] if isinstance(given, torch.Tensor) else list(given)
    if len(tensors) != len(graph.graph.outputs):
        raise UsageError(f"the model has {len(graph.graph.outputs)} outputs, {file} has {len(tensors)}")
    found = {}
    for value, tensor in zip(graph.graph.outputs, tensors, strict=True):
        array, want = tensor.detach().numpy(), (shape_of(value), dtype_of(value))
        if (array.shape, array.dtype.name) != want:
            got = f"{array.dtype.name}{list(array.shape)}"
            raise UsageError(f"the model has output {value.name!r}, {want[1]}{list(want[0])}; {file} has {got}")
        found[value.name or ""] = array
    return found
