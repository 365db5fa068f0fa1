"""Views, selections, pads, scatters and orders in the torch view, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from view_graphs import Graph, assert_same, ints, normal, targets

from edgeport.errors import ModelError
from edgeport.passes.pipeline import canonicalize
from edgeport.torch_view.runner import TorchViewRunner
from edgeport.torch_view.view import torch_view


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ((1, 0), (3, 2), (0, 1), (1, 1)),
        ((-3,), (2**63 - 1,), (2,), (1,)),
        ((-(2**63),), (2**63 - 1,), (2,), (2,)),
        ((-1,), (-(2**63),), (1,), (-1,)),
        ((4, -1), (0, 0), (2, 0), (-2, -1)),
        ((3,), (1,), (2,), (1,)),
        ((1,), (3,), (2,), (-1,)),
        ((-9, 9), (-8, -9), (0, 2), (-2, -3)),  # starts are moved inside, unlike numpy's
        ((-9,), (-1,), (1,), (-1,)),
        ((0,), (100,), (-1,), (3,)),
    ],
    ids=str,
)
def test_slices(starts: Any, ends: Any, axes: Any, steps: Any) -> None:
    g = Graph()
    g.op("Slice", g.input("x", normal(3, 4, 5)), *(g.const(ints(*v)) for v in (starts, ends, axes, steps)), out="y")
    assert_same(g.model("y"), g.inputs)


def test_slices_by_default() -> None:
    g = Graph()
    g.op("Slice", g.input("x", normal(3, 4, 5)), g.const(ints(1, -3)), g.const(ints(9, -1)), out="y")
    assert_same(g.model("y"), g.inputs)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("indices", [2, [0, -1, 1], [1, 2], [[0, 2], [-3, 1]]], ids=str)
def test_gather(constant: bool, axis: int, dtype: str, indices: Any) -> None:
    g, at = Graph(), np.asarray(indices, dtype)
    g.op("Gather", g.input("x", normal(3, 4, 5)), g.const(at) if constant else g.input("i", at), out="y", axis=axis)
    assert_same(g.model("y"), g.inputs)


def test_indices_outside_are_refused() -> None:
    g = Graph()
    g.op("Gather", g.input("x", normal(3, 4)), g.const(ints(0, 3)), out="y")
    with pytest.raises(ModelError, match="outside"):
        torch_view(g.model("y"))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("constant", [True, False])
def test_gathers_by_element_and_position(dtype: str, constant: bool) -> None:
    g = Graph()
    x = g.input("x", normal(3, 4, 5))

    def at(name: str, array: Any, dtype: str = "int64") -> str:
        return g.const(np.asarray(array, dtype)) if constant else g.input(name, np.asarray(array, dtype))

    outputs = [
        g.op("GatherElements", x, at("e", [[[0, -1], [3, 2]]], dtype), axis=1),
        g.op("GatherND", x, at("n", [[0, -1], [2, 1]])),
        g.op("GatherND", x, at("b", [[1], [-1], [0]]), batch_dims=1),
        g.op("GatherND", x, at("c", [[[[1]], [[-1]]]] * 3), batch_dims=1),
        g.op("GatherND", x, at("d", np.arange(24).reshape(3, 4, 2, 1) % 5), batch_dims=2),
    ]
    assert_same(g.model(*outputs), g.inputs)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize("pads", [(0, 1, 2, 0, 2, 1), (0, -1, 1, 0, 1, -2), (0, 0, 0, 0, 0, 0), (0, -1, 0, 0, -1, 3)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_pad(mode: str, pads: tuple[int, ...], dtype: str) -> None:
    g = Graph()
    more = [g.const(np.asarray(1.5 if dtype == "float32" else 1, dtype))] if mode == "constant" else []
    g.op("Pad", g.input("x", (normal(2, 4, 5) * 3).astype(dtype)), g.const(ints(*pads)), *more, out="y", mode=mode)
    assert_same(g.model("y"), g.inputs)


def test_pad_with_axes_and_a_computed_number() -> None:
    g = Graph()
    x = g.input("x", normal(2, 4, 5))
    value = g.op("ReduceMax", x, keepdims=0)
    outputs = [
        g.op("Pad", x, g.const(ints(1, 2, 0, 3)), value, g.const(ints(-1, 0))),
        g.op("Pad", x, g.const(ints(2, -1)), "", g.const(ints(1))),
        g.op("Pad", x, g.const(ints(2, 1)), "", g.const(ints(-2)), mode="reflect"),
    ]
    assert_same(g.model(*outputs), g.inputs)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_scatters(reduction: str, constant: bool, dtype: str) -> None:
    g = Graph()

    def at(name: str, *values: Any) -> str:
        array = np.asarray(values, np.int64)
        return g.const(array) if constant else g.input(name, array)

    def data(name: str, *shape: int, seed: int = 0) -> str:
        return g.input(name, (normal(*shape, seed=seed) * 9).astype(dtype))

    x = data("x", 3, 4, 5)
    outputs = [
        g.op("ScatterElements", x, at("e", [[0, -1], [3, 2]]), data("u", 1, 2, 2), axis=1, reduction=reduction),
        g.op("ScatterND", x, at("n", [0, 1], [-1, 3]), data("v", 2, 5, seed=3), reduction=reduction),
        g.op("ScatterND", x, at("m", [2], [0]), data("w", 2, 4, 5, seed=4), reduction=reduction),
    ]
    if reduction != "none":  # the same place twice
        outputs.append(g.op("ScatterND", x, at("p", [1], [1]), data("q", 2, 4, 5, seed=5), reduction=reduction))
    assert_same(g.model(*outputs), g.inputs)


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
def test_orders(dtype: str) -> None:
    g = Graph()
    x, k = g.input("x", np.asarray([[3, 1, 3, 0, 2], [0, 7, 5, 5, -1]], dtype)), g.const(ints(3))
    outputs = [*g.op("TopK", x, k, out=["a", "b"]), *g.op("TopK", x, k, out=["c", "d"], largest=0)]
    outputs += g.op("TopK", x, g.const(ints(2)), out=["e", "f"], axis=0)
    outputs += [
        g.op("CumSum", x, g.const(np.int64(axis)), exclusive=exclusive, reverse=reverse)
        for exclusive in (0, 1)
        for reverse in (0, 1)
        for axis in (0, -1)
    ]
    assert_same(g.model(*outputs), g.inputs)


def test_views() -> None:
    g = Graph()
    x = g.input("x", normal(2, 8, 4, 6))
    outputs = [
        g.op("Reshape", x, g.const(ints(0, -1, 12))),
        g.op("Transpose", x, perm=[3, 1, 0, 2]),
        g.op("Transpose", x),
        g.op("Flatten", x, axis=2),
        g.op("Flatten", x, axis=0),
        g.op("Squeeze", g.op("Unsqueeze", x, g.const(ints(0, -1))), g.const(ints(0))),
        g.op("Expand", g.input("e", normal(4, 1)), g.const(ints(3, 1, 5))),
        g.op("Tile", x, g.const(ints(1, 2, 1, 3))),
        g.op("DepthToSpace", x, blocksize=2),
        g.op("DepthToSpace", x, blocksize=2, mode="CRD"),
        g.op("SpaceToDepth", x, blocksize=2),
        g.op("Trilu", x, g.const(np.int64(-1)), upper=0),
        g.op("Trilu", x, g.const(np.int64(2))),
        g.op("Trilu", x),
        g.op("Concat", x, x, axis=-2),
        *g.op("Split", x, g.const(ints(3, 1, 4)), out=["p", "q", "r"], axis=1),
        *g.op("Split", x, out=["s", "t"], axis=-1, num_outputs=2),
        g.op("ReverseSequence", x, g.input("l", ints(2, 7)), time_axis=1, batch_axis=0),
        g.op("ReverseSequence", x, g.input("m", ints(*[1, 2] * 4)), time_axis=0, batch_axis=1),
    ]
    assert_same(g.model(*outputs), g.inputs)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["int64", "float32", "int32"])
def test_one_hot(axis: int, dtype: str) -> None:
    g = Graph()
    indices = g.input("i", np.asarray([[1, -1, 5], [0, -4, -5]], dtype))
    values = g.const(np.asarray([2, 3], np.float32))
    g.op("OneHot", indices, g.const(np.asarray(4, dtype)), values, out="y", axis=axis)
    assert_same(g.model("y"), g.inputs)


def test_of_empty_tensors() -> None:
    g = Graph()
    x = g.input("x", np.zeros((2, 0, 3), np.float32))
    outputs = [
        g.op("Concat", x, g.input("z", normal(2, 4, 3)), axis=1),
        g.op("Tile", x, g.const(ints(1, 3, 2))),
        g.op("Pad", x, g.const(ints(0, 1, 0, 0, 1, 0))),
        g.op("Gather", g.input("y", normal(2, 3)), g.input("i", ints()), axis=1),
        g.op("Transpose", x, perm=[1, 0, 2]),
    ]
    assert_same(g.model(*outputs), g.inputs)


def test_a_batch_of_unknown_size() -> None:
    """One view serves every batch."""
    proto = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 24]>
        g (float[N,4,6] x) => (float[N,3,8] y, float[N,6,4] t, float[N,2,4,3] s) {
        shape = Constant<value_ints=[0,3,8]>()
        y = Reshape(x, shape)
        t = Transpose<perm=[0,2,1]>(x)
        axes = Constant<value_ints=[2]>()
        starts = Constant<value_ints=[5]>()
        ends = Constant<value_ints=[-100]>()
        steps = Constant<value_ints=[-2]>()
        c = Slice(x, starts, ends, axes, steps)
        u = Unsqueeze(c, one)
        s = Concat<axis=1>(u, u)
    }"""
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(ints(1), "one"))
    view = torch_view(canonicalize(ir.serde.deserialize_model(proto)))
    for batch in (1, 5):
        x = torch.arange(24.0 * batch).reshape(batch, 4, 6)
        y, t, s = view(x)
        torch.testing.assert_close(y, x.reshape(batch, 3, 8))
        torch.testing.assert_close(t, x.transpose(1, 2))
        torch.testing.assert_close(s, torch.stack([x.flip(2)[..., ::2]] * 2, 1))


def test_a_cut_stays_a_cut() -> None:
    g = Graph()
    x = g.input("x", normal(3, 4))
    made = [g.op("Gather", x, g.const(ints(1, 2)), axis=0), g.op("Gather", x, g.const(np.int64(-1)), axis=1)]
    view = assert_same(g.model(*made), g.inputs)
    assert "index_select" not in targets(view)
    assert not list(view.buffers())


@pytest.mark.parametrize("dtype", ["uint32", "uint64", "int64"])
def test_whole_numbers_beyond_floats(dtype: str) -> None:
    """What the view holds in another type wraps and compares as its own, to the last bit."""
    most = np.iinfo(dtype).max
    x = np.asarray([[most, 1, most - 1, 5, 0]], dtype)
    cases: list[tuple[str, list[Any], dict[str, Any]]] = [
        ("Pad", [ints(0, 1, 0, 2), np.asarray(most - 2, dtype)], {}),
        ("TopK", [ints(3)], {}),
        ("CumSum", [np.int64(1)], {"exclusive": 1}),
        *(
            ("ScatterElements", [ints(0, 1).reshape(1, 2), x[:, 1:3]], {"axis": 1, "reduction": r})
            for r in ("add", "max")
        ),
    ]
    wanted = [
        [np.pad(x, [(0, 0), (1, 2)], constant_values=most - 2)],
        [np.asarray([[most, most - 1, 5]], dtype), ints(0, 2, 3).reshape(1, 3)],
        [np.concatenate([np.zeros((1, 1), dtype), np.cumsum(x, 1, dtype)[:, :-1]], 1)],
        [np.concatenate([x[:, :2] + x[:, 1:3], x[:, 2:]], 1)],
        [np.concatenate([np.maximum(x[:, :2], x[:, 1:3]), x[:, 2:]], 1)],
    ]
    for (op, operands, attributes), want in zip(cases, wanted, strict=True):
        if op == "TopK" and dtype == "uint32":
            continue  # not a type of TopK's
        g = Graph()
        names = [f"y{i}" for i in range(len(want))]
        g.op(op, g.input("x", x), *(g.const(o) for o in operands), out=names, **attributes)
        model = g.model(*names)
        got = TorchViewRunner(torch_view(model), model).run(g.inputs)
        for name, array in zip(names, want, strict=True):
            assert got[name].dtype == array.dtype, op
            np.testing.assert_array_equal(got[name], array, err_msg=op)
