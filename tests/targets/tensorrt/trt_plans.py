"""Plans of small graphs for TensorRT, and what of their quantized graphs tests look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgeport.calibration import collect
from edgeport.planning import Assigned, assign_for, forms_to_observe, plan_for, powers_to_observe, tensors_to_observe
from edgeport.quantize.plan import Plan
from edgeport.quantize.scheme_options import mixed
from edgeport.side_branches import with_branches
from edgeport.targets.tensorrt.board import board_of
from edgeport.targets.tensorrt.scheme import tensorrt_scheme

ORIN6 = {
    "device": "Jetson AGX Orin",
    "sm": "8.7",
    "tensorrt": ["8.6.2", "10.3.0"],
    "opset": 17,
    "dialect": "trt8",
    "precisions": ["fp32", "fp16", "int8"],
    "typed": True,
    "cache": False,
}
THOR = ORIN6 | {
    "device": "Jetson AGX Thor",
    "sm": "11.0",
    "tensorrt": ["10.13.3", "11.4.1"],
    "opset": 21,
    "dialect": "trt10",
    "precisions": ["fp32", "fp16", "int8", "int8-weights", "int4-weights", "fp8"],
}


def planned(
    model: ir.Model,
    samples: Sequence[Mapping[str, np.ndarray]],
    precision: str = "int8",
    *,
    device: Mapping = ORIN6,
    layers: Mapping[str, str] | None = None,
    method: str = "min-max",
) -> tuple[Assigned, Plan]:
    """The plan for a device, calibrated on some samples."""
    board = board_of(device)
    parts = {name: tensorrt_scheme(other, board) for name, other in (layers or {}).items()}
    assigned = assign_for(model, mixed(tensorrt_scheme(precision, board), parts))
    statistics = None
    if names := tensors_to_observe([assigned]):
        statistics = collect(
            with_branches(model, forms_to_observe([assigned]), names),
            samples,
            dict.fromkeys(names, "histogram"),
            powers=powers_to_observe([assigned]),
        )
    plan = plan_for(model, assigned, statistics, method)
    return assigned, Plan(**{**vars(plan), "device": device})


def through(graph: ir.Graph) -> dict[str, list[str]]:
    """Name of every computed value that goes through Q/DQ -> names of the nodes that read it so."""
    found: dict[str, list[str]] = {}
    for node in graph:
        if node.op_type == "QuantizeLinear" and not node.inputs[0].is_initializer():
            (reader,) = (use.node for use in node.outputs[0].uses())
            found[node.inputs[0].name] = sorted(use.node.name for use in reader.outputs[0].uses())
    return found
