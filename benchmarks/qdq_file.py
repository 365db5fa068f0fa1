"""Any ONNX file with Q/DQ, whoever made it: runs it as it is written, and counts what reads integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnxruntime as ort
from ranged import Run

from edgeport.sample import Array, Sample

_QUANTIZES, _RESTORES = "QuantizeLinear", "DequantizeLinear"
_NO_ARITHMETIC = (_QUANTIZES, _RESTORES, "Shape")


def run_as_written(path: Path, outputs: Sequence[str]) -> Run:
    """The file in ONNX Runtime without any rewriting: its optimizers move, fuse and drop Q/DQ."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = {value.name for value in session.get_inputs()}

    def run(sample: Sample) -> Sequence[Array]:
        return session.run(list(outputs), {name: array for name, array in sample.items() if name in inputs})

    return run


def quantized_nodes(path: Path) -> tuple[Counter[str], Counter[str]]:
    """By operator: how many nodes read a DequantizeLinear of activations, and how many nodes there are."""
    graph = onnx.load(path, load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    quantized: Counter[str] = Counter()
    for node in graph.node:
        if any(_is_activation(name, producers, stored) for name in node.input) and node.op_type not in _NO_ARITHMETIC:
            quantized[node.op_type] += 1
    return quantized, Counter(node.op_type for node in graph.node)


def _is_activation(name: str, producers: dict[str, onnx.NodeProto], stored: set[str]) -> bool:
    restored = producers.get(name)
    if restored is None or restored.op_type != _RESTORES:
        return False
    integers = producers.get(restored.input[0])
    return integers is not None and integers.op_type == _QUANTIZES and integers.input[0] not in stored
