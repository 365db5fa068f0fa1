"""Small ONNX files in the forms that real ones come in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHT = np.random.default_rng(7).standard_normal((4, 3)).astype(np.float32)


def _value(name: str, shape: Sequence[int | str | None] | None, dtype: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def make_model(
    nodes: Sequence[onnx.NodeProto] | None = None,
    *,
    inputs: dict[str, Any] | None = None,
    outputs: dict[str, Any] | None = None,
    weights: dict[str, np.ndarray[Any, Any]] | None = None,
    opset: int = 13,
    ir_version: int = 8,
    domains: Sequence[str] = (),
    dtype: int = TensorProto.FLOAT,
    **graph: Any,
) -> onnx.ModelProto:
    """x[N,4] -> MatMul(w) -> y, unless told otherwise."""
    if nodes is None:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
        weights = weights or {"w": WEIGHT}
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [_value(k, v, dtype) for k, v in (inputs or {"x": ("N", 4)}).items()],
            [_value(k, v, dtype) for k, v in (outputs or {"y": None}).items()],
            [numpy_helper.from_array(v, k) for k, v in (weights or {}).items()],
            **graph,
        ),
        opset_imports=[helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)],
        ir_version=ir_version,
    )


class WriteModel(Protocol):
    def __call__(self, nodes: Sequence[onnx.NodeProto] | None = None, **options: Any) -> Path: ...
