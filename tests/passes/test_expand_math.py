"""Einsum, Det, CumProd, Compress and EyeLike written in other operators: the same numbers in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeport.passes.pipeline import canonicalize

SIZES = {"a": 2, "b": 3, "c": 4, "d": 5, "e": 2}


def model(op_type: str, feeds: Mapping[str, np.ndarray], constants: Sequence[Any] = (), **attributes: Any) -> ir.Model:
    """One node that reads the feeds, then the constants; opset 26 for CumProd."""
    names = [f"c{i}" for i in range(len(constants))]
    node = helper.make_node(op_type, [*feeds, *names], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(np.asarray(c), n) for n, c in zip(names, constants, strict=True)],
    )
    opset = helper.make_opsetid("", 26 if op_type == "CumProd" else 24)
    proto = helper.make_model(graph, opset_imports=[opset], ir_version=11)
    return ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto))


def assert_rewritten(
    op_type: str, feeds: Mapping[str, np.ndarray], before: ir.Model, want: np.ndarray | None = None
) -> None:
    """No such node is left, and the reference evaluator gives the same as before."""
    after = canonicalize(before)
    assert op_type not in {node.op_type for node in after.graph}
    if want is None:
        want = ReferenceEvaluator(ir.serde.serialize_model(before)).run(None, dict(feeds))[0]
    got = ReferenceEvaluator(ir.serde.serialize_model(after)).run(None, dict(feeds))[0]
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)  # float32 sums of up to 60 terms in another order


EQUATIONS = [
    "ab->ba", "ab->a", "ab->", "ab", "aa->a", "aa->", "aab->ab", "aba->ba", "aaa->a", "a,a->", "a,b->ab",
    "ab,bc->ca", "abc,acd->abd", "abc,abc->ab", "ab,ab->ba", "abc,cde->abde", "abc,cd->abd", "abcd,cde->abe",
    "abce,cde->abd", "abcd,abed->abce", "abcd,aebd->aceb", "ab,cb->ac", "ba,bc->ac", "ab,b->a", "a,ab->b",
    "...a,ab->...b", "ab,...bc->...ac", "ab,bc,cd->ad", "ab,bc,ac->abc", "aab,bc->ac", "...ab->...ba",
    "ab,cd->acbd", "...aa->...a", "abcd,cd->ab", "a...->...",
]  # fmt: skip


@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_einsum(equation: str, dtype: str) -> None:
    generator = np.random.default_rng(0)
    terms = equation.split("->")[0].replace("...", "ed").split(",")
    feeds = {
        f"x{i}": (generator.standard_normal([SIZES[label] for label in term]) * 3).astype(dtype)
        for i, term in enumerate(terms)
    }
    # numpy's own einsum is the reference: onnx's evaluator computes the diagonals of single operands through it too.
    want = np.asarray(np.einsum(equation, *feeds.values()))
    assert_rewritten("Einsum", feeds, model("Einsum", feeds, equation=equation), want)


def test_einsum_by_weights_is_one_matrix_product() -> None:
    feeds = {"x": np.ones((2, 3, 8), np.float32)}
    after = canonicalize(model("Einsum", feeds, [np.ones((8, 2, 4), np.float32)], equation="bsd,dnh->bsnh"))
    assert [node.op_type for node in after.graph] == ["MatMul", "Reshape"]


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (4, 3, 3), (2, 2, 5, 5), (6, 6)], ids=str)
def test_det(shape: tuple[int, ...]) -> None:
    feeds = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    assert_rewritten("Det", feeds, model("Det", feeds), np.asarray(np.linalg.det(feeds["x"])))


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_cum_prod(exclusive: int, reverse: int, axis: int, size: int) -> None:
    feeds = {"x": np.random.default_rng(2).standard_normal((size, 3, size)).astype(np.float32)}
    before = model("CumProd", feeds, [np.int64(axis)], exclusive=exclusive, reverse=reverse)
    turned = np.flip(feeds["x"], axis) if reverse else feeds["x"]
    if exclusive:
        kept = np.delete(turned, -1, axis)
        turned = np.concatenate([np.ones_like(turned.take([0], axis)), kept], axis)
    want = np.cumprod(turned, axis)
    assert_rewritten("CumProd", feeds, before, np.flip(want, axis) if reverse else want)


@pytest.mark.parametrize("attributes", [{}, {"axis": 0}, {"axis": -1}], ids=str)
def test_compress(attributes: dict[str, int]) -> None:
    feeds = {"x": np.random.default_rng(3).standard_normal((3, 4)).astype(np.float32)}
    condition = np.array([False, True, True])
    assert_rewritten("Compress", feeds, model("Compress", feeds, [condition], **attributes))


@pytest.mark.parametrize("attributes", [{}, {"k": -1}, {"k": 2, "dtype": 7}], ids=str)
def test_eye_like(attributes: dict[str, int]) -> None:
    feeds = {"x": np.zeros((3, 4), np.float32)}
    assert_rewritten("EyeLike", feeds, model("EyeLike", feeds, **attributes))
