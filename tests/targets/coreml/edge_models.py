"""Small models for the tests of what an app sees of a package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from edgeport.passes import canonicalize
from edgeport.presentation import Presentation
from edgeport.quantize.plan import Plan
from edgeport.targets.contract import Artifact
from edgeport.targets.coreml.target import COREML


def parsed(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    """A model written as `name (inputs) => (outputs) { nodes }`, with weights by name."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    for name, array in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


def canonical(model: onnx.ModelProto) -> ir.Model:
    """Its canonical graph."""
    return canonicalize(ir.serde.deserialize_model(model))


def conv_net(padding: int = 0, size: int = 8) -> onnx.ModelProto:
    """An image of [1,3,size,size], a convolution, ReLU and a convolution over what is left, 4 scores."""
    rng = np.random.default_rng(0)
    text = f"""net (float[1,3,{size},{size}] image) => (float[1,4] scores) {{
        a = Conv<pads=[{",".join([str(padding)] * 4)}]>(image, w, b)
        r = Relu(a)
        s = Conv(r, v)
        scores = Flatten(s)
    }}"""
    left = size + 2 * padding - 2
    weight, bias, last = rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4), rng.normal(size=(4, 4, left, left)) / left
    return parsed(text, w=weight.astype(np.float32), b=bias.astype(np.float32), v=last.astype(np.float32))


def lowered(model: ir.Model, folder: Path, plan: Plan, **shown: object) -> Artifact:
    """A package of the model, presented so."""
    return COREML.lower(model, Presentation(**shown).of(plan), folder, "net")  # type: ignore[arg-type]
