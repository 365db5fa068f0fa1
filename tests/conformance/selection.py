"""Writes selection.json: which of onnx's node tests concern inference on a phone or board, and how they are baked.

    python -m tests.conformance.selection

Needs the onnx and ONNX Runtime that the selection names. A test is kept if

- its inputs, outputs, constants, cast targets and inferred intermediates are dense tensors of the usual types,
- its operator is of the standard domain, deterministic, no loop, no sequence, string, image or loss, its output shape
  does not depend on values, and nothing trains,
- an input is left that is not a parameter, and
- ONNX Runtime reproduces the expected outputs. A test labelled with a newer opset than it needs gets the lowest one
  from 17 on at which the model is valid and does so.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from .cases import SELECTION, baked, collect, parent, tensors
from .outcomes import difference

_TYPES = {
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.UINT8,
    TensorProto.INT8,
}  # fmt: skip
_DENIED = {
    "Loop", "Scan", "If", "SequenceMap", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
    "Bernoulli", "Multinomial", "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss", "ImageDecoder",
    "StringConcat", "StringSplit", "StringNormalizer", "RegexFullMatch", "TfIdfVectorizer", "SequenceAt",
    "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength", "SplitToSequence",
    "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement", "NonZero", "Unique",
    "NonMaxSuppression",
}  # fmt: skip
_EVERY = {
    "Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Concat", "Div", "Einsum", "Equal", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "MatMul", "Max", "Mean", "Min", "Mod", "Mul", "Or", "Pow", "Sub", "Sum",
    "SwiGLU", "Where", "Xor",
}  # fmt: skip
"""Operators whose inputs are all activations."""
_ACTIVATIONS = {
    "Attention": (1, 2, 4, 5),
    "CausalConvWithState": (3,),
    "DeformConv": (2, 4),
    "GridSample": (1,),
    "MatMulInteger": (1,),
    "QLinearMatMul": (3,),
    "RoiAlign": (1,),
    "Scatter": (2,),
    "ScatterElements": (2,),
    "ScatterND": (2,),
    "TensorScatter": (1,),
}
"""Input positions that are activations besides the first; the others are parameters, which models hold as constants."""
_GENERATORS = {"BlackmanWindow", "ConstantOfShape", "HammingWindow", "HannWindow", "MelWeightMatrix", "Range"}
"""Operators whose inputs are all parameters."""
_LOWEST_OPSET = 17


def select() -> dict[str, tuple[str, int, list[str]]]:
    """The selection; says on stdout what each rule drops."""
    collected = collect()
    singles = {case.name: case for case in collected if parent(case.name) == case.name}
    selection: dict[str, tuple[str, int, list[str]]] = {}
    dropped: Counter[str] = Counter()
    for case in collected:
        origin = singles.get(parent(case.name), case)
        reason, kept = _judge(case, origin.model.graph.node[0])
        if kept is None:
            dropped[reason] += 1
        else:
            selection[case.name] = (origin.model.graph.node[0].op_type, *kept)
    for reason, count in sorted(dropped.items()):
        print(f"{count:5}  {reason}")
    return dict(sorted(selection.items(), key=lambda item: (item[1][0], item[0])))


def _judge(case: Any, node: onnx.NodeProto) -> tuple[str, tuple[int, list[str]] | None]:
    """Why a test is dropped, or its opset and runtime inputs."""
    arrays, wanted = (tensors(values) for values in case.data_sets[0])
    domains = {n.domain for n in case.model.graph.node}
    if not domains <= {"", "ai.onnx"} or node.domain not in ("", "ai.onnx"):
        return "domain", None
    if node.op_type in _DENIED or any(n.op_type in _DENIED for n in case.model.graph.node):
        return "denied operator", None
    if any(a.name == "training_mode" and a.i for a in node.attribute) or _trains(node, case):
        return "training", None
    if arrays is None or wanted is None or not set(_types(case.model)) <= _TYPES:
        return "type", None
    runtime = _runtime(case.model, node)
    if not runtime:
        return "no runtime input", None
    feeds = {v.name: a for v, a in zip(case.model.graph.input, arrays, strict=True) if v.name in runtime}
    own = next(o.version for o in case.model.opset_import if o.domain in ("", "ai.onnx"))
    for opset in (*range(_LOWEST_OPSET, own), own):
        model = baked(case.model, arrays, runtime, opset)
        if (opset == own or _valid(model)) and _reproduced(model, feeds, wanted):
            return "", (opset, runtime)
    return "ONNX Runtime", None


def _types(model: onnx.ModelProto) -> Iterator[int]:
    """Element types of everything in the model; -1 for what is no dense tensor."""
    with contextlib.suppress(onnx.shape_inference.InferenceError):
        model = onnx.shape_inference.infer_shapes(model)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        yield value.type.tensor_type.elem_type if value.type.HasField("tensor_type") else -1
    for tensor in model.graph.initializer:
        yield tensor.data_type
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t.data_type
            elif node.op_type in ("Cast", "BitCast") and attribute.name == "to":
                yield attribute.i


def _trains(node: onnx.NodeProto, case: Any) -> bool:
    """Whether a Dropout's third input switches it on."""
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    names = [v.name for v in case.model.graph.input]
    return node.input[2] in names and bool(case.data_sets[0][0][names.index(node.input[2])])


def _runtime(model: onnx.ModelProto, node: onnx.NodeProto) -> list[str]:
    """Names of the inputs that stay inputs."""
    names = [v.name for v in model.graph.input]
    if node.op_type in _GENERATORS:
        return []
    if node.op_type in _EVERY:
        return names
    further = [node.input[i] for i in _ACTIVATIONS.get(node.op_type, ()) if i < len(node.input)]
    return [n for i, n in enumerate(names) if i == 0 or n in further]


def _valid(model: onnx.ModelProto) -> bool:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return False
    return True


def _reproduced(model: onnx.ModelProto, feeds: dict[str, np.ndarray], wanted: list[np.ndarray]) -> bool:
    """Whether ONNX Runtime computes the expected outputs."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        run_options = ort.RunOptions()
        run_options.log_severity_level = 4
        got = session.run(None, feeds, run_options)
    except Exception:  # ONNX Runtime's exceptions share no public root
        return False
    return difference(list(got), wanted) is None


if __name__ == "__main__":
    chosen = select()
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in chosen.items())
    SELECTION.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    print(f"{len(chosen)} cases of {len({entry[0] for entry in chosen.values()})} operators in {SELECTION.name}")
