"""Palettes, sparse weights and the importance of weights: against coremltools' decompression, ONNX Runtime and what
they are meant to minimize."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from test_plan import HEADER, parse, run

from edgeport.calibration import collect
from edgeport.planning import assign_for, plan_for
from edgeport.quantize.compression import Palette, Sparse
from edgeport.quantize.plan import Plan
from edgeport.quantize.qdq import write_qdq
from edgeport.quantize.scheme import OpRule, Scheme
from edgeport.quantize.scheme_options import Storage, with_storage
from edgeport.quantize.weight_storage import palettize, sparsify
from edgeport.report.build import plan_data

RULES = {
    "Conv": OpRule("anchor", weight=1, weight_axis=0, activations=(0,)),
    "ConvTranspose": OpRule("anchor", weight=1, weight_axis=1, activations=(0,)),
    "MatMul": OpRule("anchor", weight=1, weight_axis=1, activations=(0,)),
    "Gather": OpRule("anchor", weight=0, weight_axis=0, activations=()),
    "LSTM": OpRule("anchor", weight=1, weight_axis=1, more_weights=(2,), activations=(0,)),
}


def palettized(bits: int, group: int | None = None) -> Scheme:
    return Scheme(f"palettized-{bits}", "palettized", RULES, bits=bits, group=group, grouped=True)


LOUDNESS = np.geomspace(0.05, 5, 8)
"""Of the input's channels, which differ as they do in trained models."""
SPARSE = Scheme("sparse", "sparse", RULES)


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_t(4, shape) / 8).astype(np.float32)


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
@pytest.mark.parametrize(("axis", "group"), [(0, None), (0, 8), (1, 8)])
def test_palettes_restore_what_coremltools_decompresses(bits: int, axis: int, group: int | None) -> None:
    w = weights(24, 16, 3, 3, seed=bits)
    palette, said = palettize(w, axis, palettized(bits, group), None)
    groups = 1 if group is None or "worth" in said else w.shape[axis] // group
    assert palette.lut.shape == (groups, 2**bits)
    assert palette.axis == (axis if groups > 1 else None)
    assert np.array_equal(palette.lut.astype(np.float16).astype(np.float32), palette.lut)
    indices = palette.indices(w)
    assert indices.shape == w.shape
    shape = [1, 1, 1, 1]
    shape[axis] = groups
    decompress = pytest.importorskip("coremltools.optimize._utils").lut_to_dense
    dense = decompress(indices, palette.lut.reshape(*shape, 2**bits, 1))
    assert np.array_equal(dense, palette.restored(w))
    whole = np.repeat(palette.lut, w.shape[axis] // groups, axis=0)
    table = np.moveaxis(np.broadcast_to(whole, (w.shape[axis], 2**bits)), 0, 0)
    near = np.abs(np.moveaxis(w, axis, 0)[..., None] - table[:, None, None, None, :]).min(axis=-1)
    assert np.array_equal(np.abs(np.moveaxis(w - dense, axis, 0)), near), "every index is that of the nearest value"


def test_group_palettes_fit_better_and_those_that_do_not_divide_or_pay_are_for_the_tensor() -> None:
    w = weights(64, 64) * np.geomspace(0.1, 10, 64, dtype=np.float32)[:, None]

    def error(group: int | None) -> float:
        return float(np.square(palettize(w, 0, palettized(4, group), None)[0].restored(w) - w).sum())

    assert error(16) < 0.75 * error(None)  # a group's weights lie within a factor of 3, all of them within 100
    assert "64 channels are no multiple of 12" in palettize(w, 0, palettized(4, 12), None)[1]
    assert "not worth" in palettize(w, 0, palettized(8, 4), None)[1]
    assert palettize(w, 0, palettized(4, 64), None)[0].axis is None


def test_weights_that_have_few_values_already_lose_nothing() -> None:
    values = np.float32([-0.75, -0.125, 0, 0.5, 1.0])
    w = np.random.default_rng(0).choice(values, (40, 50))
    palette, _ = palettize(w, 0, palettized(4), None)
    assert np.array_equal(palette.restored(w), w)
    assert palette.indices(w).max() == 4
    tiny = w * np.float32(1e-7)  # float16 has no digits left there, so the table stays float32
    assert np.array_equal(palettize(tiny, 0, palettized(4), None)[0].restored(tiny), tiny)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9])
def test_the_least_weights_go(sparsity: float) -> None:
    w = weights(30, 40)
    w[3] = 0
    scheme = with_storage(SPARSE, Storage(sparsity=sparsity))
    sparse, _ = sparsify(w, scheme, None)
    dropped = max(int(sparsity * w.size), 40)
    assert np.count_nonzero(~sparse.mask) == dropped
    assert np.abs(w[~sparse.mask]).max() <= np.abs(w[sparse.mask]).min()
    decompress = pytest.importorskip("coremltools.optimize._utils").sparse_to_dense
    dense = decompress(sparse.nonzero(w), sparse.mask.astype(np.uint8))
    assert np.array_equal(dense, sparse.restored(w))


def test_of_equal_weights_as_many_go_as_were_asked_for() -> None:
    w = np.sign(weights(20, 20))
    sparse, _ = sparsify(w, with_storage(SPARSE, Storage(sparsity=0.25)), None)
    assert np.count_nonzero(sparse.mask) == 300


MODEL = (
    HEADER
    + """ g (float[1,8,10,10] x, int64[5] ids) => (float[1,16,11,11] z, float[5,24] e, float[10,1,2,12] h) {
    a = Conv<pads=[1,1,1,1], group=2>(x, w1)
    r = Relu(a)
    z = ConvTranspose<kernel_shape=[2,2]>(r, w2)
    t = Gather(table, ids)
    e = MatMul(t, w3)
    p = ReduceMean<keepdims=0>(x, last)
    s = Transpose<perm=[2,0,1]>(p)
    u = Expand(s, two)
    h = LSTM<hidden_size=12>(u, w4, r4)
}"""
)


def model() -> ir.Model:
    return parse(
        MODEL,
        w1=weights(32, 4, 3, 3),
        w2=weights(32, 16, 2, 2),
        table=weights(50, 24),
        w3=weights(24, 24),
        w4=weights(1, 48, 8),
        r4=weights(1, 48, 12),
        last=np.int64([3]),
        two=np.int64([10, 2, 8]),
    )


def samples(n: int = 24) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(5)
    return [
        {
            "x": (rng.normal(size=(1, 8, 10, 10)) * LOUDNESS.reshape(1, 8, 1, 1)).astype(np.float32),
            "ids": rng.integers(0, 50, 5),
        }
        for _ in range(n)
    ]


def planned(graph: ir.Model, scheme: Scheme, *, with_data: bool) -> Plan:
    assigned = assign_for(graph, scheme)
    statistics = collect(graph, samples(), {}, powers=assigned.assignment.powers) if with_data else None
    return plan_for(graph, assigned, statistics, "mse")


@pytest.mark.parametrize("scheme", [palettized(4), palettized(2, 8), with_storage(SPARSE, Storage(sparsity=0.5))])
def test_the_simulation_computes_with_what_is_restored(scheme: Scheme) -> None:
    graph, feed = model(), samples(1)[0]
    plan = planned(graph, scheme, with_data=True)
    assert {n.kernel for n in plan.nodes.values() if n.op in RULES} == {scheme.kernel}
    replaced = graph.clone()
    for name in ("w1", "w2", "table", "w3", "w4", "r4"):
        stored = plan.compression(name)
        assert isinstance(stored, Palette | Sparse)
        restored = stored.restored(graph.graph.initializers[name].const_value.numpy())
        assert restored.dtype == np.float32
        replaced.graph.initializers[name].const_value = ir.tensor(restored, name=name)
    for got, want in zip(run(write_qdq(graph, plan, scheme), **feed), run(replaced, **feed), strict=True):
        assert np.array_equal(got, want)
    assert plan.compression("x") is None
    rows = {row["name"]: row for row in plan_data(plan)["tensors"]}
    assert rows["w1"]["dtype"] == ("sparse" if scheme.kernel == "sparse" else f"palette{scheme.bits}")


@pytest.mark.parametrize("scheme", [palettized(2), palettized(4), with_storage(SPARSE, Storage(sparsity=0.5))])
@pytest.mark.parametrize(
    ("layer", "shape", "channel"),
    [
        ("y = Conv<group=2>(x, w)", (32, 4, 3, 3), lambda c: np.repeat(c.reshape(2, 4), 16, axis=0)[..., None, None]),
        ("y = Conv<group=8>(x, w)", (64, 1, 5, 5), lambda c: np.repeat(c, 8)[:, None, None, None]),
        ("y = ConvTranspose(x, w)", (8, 64, 3, 3), lambda c: c[:, None, None, None]),
        ("t = Transpose<perm=[0,2,3,1]>(x) y = MatMul(t, w)", (8, 96), lambda c: c[:, None]),
    ],
)
def test_knowing_the_channels_power_brings_the_output_nearer(
    scheme: Scheme, layer: str, shape: tuple[int, ...], channel: Callable[[np.ndarray], np.ndarray]
) -> None:
    w = weights(*shape) / channel(LOUDNESS).astype(np.float32)  # quiet channels have large weights, as after a norm
    graph = parse(HEADER + " g (float[1,8,10,10] x) => (float[N,C,H,W] y) { " + layer + " }", w=w)
    x = samples(40)[30]["x"]  # not one of those that were seen
    want = run(graph, x=x)[0]
    errors = [
        np.square(run(write_qdq(graph, planned(graph, scheme, with_data=data), scheme), x=x)[0] - want).sum()
        for data in (False, True)
    ]
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize("scheme", [palettized(2), with_storage(SPARSE, Storage(sparsity=0.7))])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("y = Conv<group=2>(x, w, b)", (32, 4, 3, 3)),
        ("t = Transpose<perm=[0,2,3,1]>(x) p = MatMul(t, w) q = Add(p, b) y = Transpose<perm=[0,3,1,2]>(q)", (8, 32)),
    ],
)
def test_the_bias_takes_off_what_stored_weights_add_to_the_mean(
    scheme: Scheme, layer: str, shape: tuple[int, ...]
) -> None:
    graph = parse(
        HEADER + " g (float[1,8,10,10] x) => (float[N,C,H,W] y) { " + layer + " }", w=weights(*shape), b=weights(32)
    )
    seen = [{"x": np.abs(s["x"])} for s in samples()]  # behind a rectifier: far from mean 0
    assigned = assign_for(graph, scheme)
    plan = plan_for(graph, assigned, collect(graph, seen, {}, powers=assigned.assignment.powers), "mse")
    without = replace(plan, shifts={})
    want, got, plain = (
        np.concatenate([run(model, **s)[0] for s in seen])
        for model in (graph, write_qdq(graph, plan, scheme), write_qdq(graph, without, scheme))
    )
    error, error_without = (np.abs((y - want).mean(axis=(0, 2, 3))).max() for y in (got, plain))
    # Exact but for what a convolution leaves out at the border, and the 24 bits of each mean.
    assert error < 0.02 * error_without
    assert np.square(got - want).sum() < np.square(plain - want).sum()


def test_powers_are_asked_of_the_inputs_along_their_channels() -> None:
    assignment = assign_for(model(), palettized(4)).assignment
    assert assignment.powers == {"x": 1, "r": 1, "t": -1, "u": -1}
    assert assign_for(model(), Scheme("int8-weights", "int8-weights", RULES)).assignment.powers == {}


def test_what_saves_nothing_stays_float() -> None:
    graph = parse(HEADER + " g (float[2,8] x) => (float[2,8] y) { y = MatMul(x, w) }", w=weights(8, 8))
    plan = planned(graph, palettized(8), with_data=False)
    assert plan.kernel("MatMul_0") == "float32"
    assert "a palette of 256 values saves nothing on 64 weights" in plan.nodes["MatMul_0"].reason
    plan = planned(graph, SPARSE, with_data=False)
    assert plan.kernel("MatMul_0") == "float32"
    assert "--sparsity" in plan.nodes["MatMul_0"].reason


@pytest.mark.parametrize("block", [None, 2])
def test_int4_weights_of_convolutions_have_scales_for_blocks_of_input_channels(block: int | None) -> None:
    graph, feed = model(), samples(1)[0]
    scheme = Scheme("int4-weights", "int4-weights", RULES, block=block)
    plan = planned(graph, scheme, with_data=False)
    for name, shape in (("w1", (32, 2, 1, 1)), ("w2", (16, 16, 1, 1)), ("w3", (12, 24))):
        stored = plan.qparams(name)
        assert stored.dtype == "int4"
        assert stored.scale.shape == (shape if block else (max(shape),))
        w = graph.graph.initializers[name].const_value.numpy()
        restored = stored.restored(w)
        # 15 steps for weights with heavy tails: noise of an eighth of the signal, squared, and twice that for luck.
        assert np.square(restored - w).sum() < 0.03 * np.square(w).sum()
    for got, want in zip(run(write_qdq(graph, plan, scheme), **feed), run(graph, **feed), strict=True):
        assert np.square(got - want).sum() < 0.1 * np.square(want).sum()  # two layers of such weights
