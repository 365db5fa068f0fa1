"""How far a model's own outputs move when scores change by as little as float32 arithmetic rounds.

A model that picks the best of candidates (TopK over queries or boxes, ArgMax) gives rows in another order where two
scores are nearly equal. No two runtimes agree on such an output, however right both are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from edgeport.sample import Sample
from edgeport.validate.metrics import OutputDrift, OutputMetrics, check_comparable
from edgeport.validate.onnx_runner import OnnxRunner

_NUDGE = 2.0**-20
"""Relative; noise 120 dB below the signal, as sums in another order leave it."""

_CHOICES = ("ArgMax", "ArgMin", "TopK")


def output_motion(model: ir.Model, samples: Iterable[Sample]) -> Mapping[str, OutputMetrics]:
    """Distance of each output from itself, with the float scores that TopK, ArgMax and ArgMin compare times 1 +- 2^-20.

    Deterministic; the model is not changed. Outputs that no such operator leads to do not move.

    Raises:
        ModelError: ONNX Runtime cannot run the model.
    """
    steady, nudged = OnnxRunner(model), OnnxRunner(_nudged_scores(model))
    drifts = {name: OutputDrift(name) for name in steady.outputs}
    for sample in samples:
        before, after = steady.run(sample), nudged.run(sample)
        for name, drift in drifts.items():
            reference, array = np.asarray(before[name]), np.asarray(after[name])
            check_comparable(name, reference, array, what="the model and the model with nudged scores")
            drift.update(reference, array)
    return {name: drift.result() for name, drift in drifts.items()}


def _nudged_scores(model: ir.Model) -> ir.Model:
    copy = model.clone()
    rng = np.random.default_rng(0)
    for index, node in enumerate([node for node in copy.graph if node.op_type in _CHOICES]):
        scores = node.inputs[0]
        if scores is None or scores.dtype != ir.DataType.FLOAT or scores.shape is None:
            continue
        shape = [d for d in scores.shape if isinstance(d, int)]
        if len(shape) < len(scores.shape):
            continue
        factors = (1 + (rng.integers(0, 2, size=shape) * 2 - 1) * _NUDGE).astype(np.float32)
        name = f"nudge/{index}"
        constant = ir.Value(name=name, const_value=ir.tensor(factors, name=name))
        copy.graph.register_initializer(constant)
        product = ir.node("Mul", [scores, constant])
        product.outputs[0].name = f"{name}/scores"
        copy.graph.insert_before(node, product)
        node.replace_input_with(0, product.outputs[0])
    return copy
