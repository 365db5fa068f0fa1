"""What the pass tests share: models written as ONNX text, passes applied by name, numbers against ONNX Runtime."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgeport.passes import DEFAULT_PIPELINE, canonicalize

Arrays = Mapping[str, np.ndarray]


def run(proto: onnx.ModelProto, feeds: Arrays) -> list[np.ndarray]:
    """Outputs in ONNX Runtime without its graph optimizations, one thread."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, feeds)


def random_feeds(proto: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    """Standard normal floats, integers 0..4, random booleans for every input that has no initializer."""
    random = np.random.default_rng(seed)
    given = {tensor.name for tensor in proto.graph.initializer}
    feeds = {}
    for value in proto.graph.input:
        if value.name in given:
            continue
        kind = value.type.tensor_type
        shape = [dim.dim_value if dim.HasField("dim_value") else 2 for dim in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if dtype.kind in "iu":
            feeds[value.name] = random.integers(0, 5, shape).astype(dtype)
        elif dtype.kind == "b":
            feeds[value.name] = np.asarray(random.random(shape) < 0.7)
        else:
            feeds[value.name] = random.standard_normal(shape).astype(dtype)
    return feeds


class Checked:
    """A model after passes: the IR, and how many operators of each type it has."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.ops = dict(collections.Counter(node.op_type for node in model.graph.all_nodes()))

    def node(self, op_type: str) -> ir.Node:
        """The only node of this type."""
        (found,) = [node for node in self.model.graph.all_nodes() if node.op_type == op_type]
        return found


Check = Callable[..., Checked]


@pytest.fixture
def check() -> Check:
    """`check(model, "pass", ...)` applies passes by name (or the whole pipeline) and compares the outputs."""

    def apply(
        source: str | onnx.ModelProto,
        *passes: str,
        feeds: Arrays | None = None,
        tolerance: float = 1e-5,
        initializers: Arrays | None = None,
        seeds: Sequence[int] = (0,),
        without: Sequence[str] = (),
    ) -> Checked:
        proto = onnx.parser.parse_model(source) if isinstance(source, str) else source
        for name, array in (initializers or {}).items():
            proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        drop = [name for name in DEFAULT_PIPELINE if (passes and name not in passes) or name in without]
        extra = [name for name in passes if name not in DEFAULT_PIPELINE]
        model = canonicalize(ir.serde.deserialize_model(proto), drop=drop, add=extra)
        result = ir.serde.serialize_model(model)
        onnx.checker.check_model(result)
        assert [v.name for v in result.graph.output] == [v.name for v in proto.graph.output]
        for seed in seeds:
            given = feeds if feeds is not None else random_feeds(proto, seed)
            before, after = run(proto, given), run(result, {v.name: given[v.name] for v in result.graph.input})
            for name, expected, got in zip([v.name for v in proto.graph.output], before, after, strict=True):
                assert got.dtype == expected.dtype, name
                assert got.shape == expected.shape, name
                scale = (
                    float(np.nan_to_num(np.abs(expected, dtype=np.float64), posinf=0).max(initial=1e-6))
                    if expected.dtype.kind == "f"
                    else 0
                )
                # float32 has 24 bits; 1e-5 of the largest output leaves room for sums taken in another order
                np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * scale, err_msg=name)
        return Checked(model)

    return apply
