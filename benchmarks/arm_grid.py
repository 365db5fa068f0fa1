"""Inputs of a .ptl file on its own grid: numbers that quantize alike on desktops and phones.

A desktop rounds `x / s + z` once, a phone rounds `x / s` and adds z, and half of a step decides differently
(`edgeport.targets.qnnpack.reference`). What is a multiple of the step has one answer. (The difference itself is in
the operators of `arm_operators.py`.)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeport.errors import ModelError


def argument_names(path: Path) -> list[str]:
    """The names of the inputs in the order of the file's `forward`."""
    schema = _module(path)._c._get_method("forward").schema
    return [argument.name for argument in schema.arguments[1:]]


def on_grid(path: Path, sample: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The sample with every float input that the file quantizes moved to the nearest step.

    Args:
        path: a .ptl file, saved with its code (as torch saves it).
        sample: the inputs, in the file's order.
    """
    graph = _module(path).inlined_graph
    grids = {}
    for node in graph.findAllNodes("aten::quantize_per_tensor"):
        values, scale, zero_point, _ = node.inputs()
        if values.node().kind() == "prim::Param":
            grids[values.debugName()] = (np.float32(scale.toIValue()), int(zero_point.toIValue()))
    moved = dict(sample)
    for value, name in zip(list(graph.inputs())[1:], sample, strict=True):
        if value.debugName() in grids:
            scale, zero_point = grids[value.debugName()]
            steps = np.clip(np.rint(sample[name] / scale), -zero_point, 255 - zero_point)
            moved[name] = (steps * scale).astype(np.float32)
    return moved


def _module(path: Path) -> Any:
    """The file's code.

    Raises:
        ModelError: torch does not load it.
    """
    import torch

    torch.backends.quantized.engine = "qnnpack"  # others refuse some of its weights
    load: Any = torch.jit.load
    try:
        return load(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{path} is no file that torch loads ({reason}); export it again") from error
