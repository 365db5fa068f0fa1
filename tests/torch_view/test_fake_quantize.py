"""Fake quantization: the forward pass is ONNX Runtime's of the quantized graph, gradients pass rounding."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from small_models import small_cnn, smooth_images
from view_graphs import model_of, normal, reference

from edgeport.errors import ModelError
from edgeport.passes.infer_shapes import infer_shapes
from edgeport.passes.pipeline import canonicalize
from edgeport.quantize.assign import assign
from edgeport.quantize.plan import Plan
from edgeport.quantize.planner import make_plan
from edgeport.quantize.qdq import write_qdq
from edgeport.quantize.scheme import Scheme
from edgeport.targets.coreml.scheme import coreml_scheme
from edgeport.targets.tflite.scheme import tflite_scheme
from edgeport.torch_view.fake_quantize import fake_quantized_view, parameters_by_name, trained_graph

IMAGES = smooth_images(6, 3, 16)


def _plan(model: ir.Model, scheme: Scheme, feeds: dict[str, np.ndarray]) -> Plan:
    assignment = assign(model.graph, scheme)
    seen = {**feeds, **reference(model, feeds)}
    table = {name: (float(seen[name].min()), float(seen[name].max())) for name in assignment.requests}
    return make_plan(assignment, scheme, lambda name, within, symmetric: table[name], "min-max")


def _simulated(model: ir.Model, plan: Plan, scheme: Scheme, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    quantized = write_qdq(model, plan, scheme)
    infer_shapes(quantized)
    return reference(quantized, feeds)


@pytest.fixture(scope="module")
def cnn() -> ir.Model:
    return canonicalize(ir.serde.deserialize_model(small_cnn()))


@pytest.mark.parametrize("precision", ["int8", "int8-weights", "int4-weights", "int8-dynamic"])
def test_forward_is_that_of_the_quantized_graph(cnn: ir.Model, precision: str) -> None:
    """Sums in another order differ by a few ulp (1e-7), which may tip one rounding: a step of the output, then."""
    scheme, feeds = tflite_scheme(precision), {"image": IMAGES}
    plan = _plan(cnn, scheme, feeds)
    want = _simulated(cnn, plan, scheme, feeds)["logits"]
    (got,) = fake_quantized_view(cnn, plan, scheme)(torch.from_numpy(IMAGES))
    step = float(plan.tensors["logits"].qparams.scale) if precision == "int8" else 1e-5
    assert np.abs(got.detach().numpy() - want).max() <= step * 1.001
    assert np.mean(np.abs(got.detach().numpy() - want) > 1e-5) < 0.02


def _product(rows: int = 8, columns: int = 4) -> tuple[ir.Model, np.ndarray]:
    weight = normal(rows, columns, seed=1)
    model = model_of(f"g (float[3,{rows}] x) => (y) {{ y = MatMul(x, w) }}", {"w": weight})
    return canonicalize(model), weight


def test_gradients_pass_rounding_and_stop_where_numbers_are_clipped() -> None:
    weight = normal(4, 8, 1, 1)
    model = canonicalize(model_of("g (float[1,8,3,1] x) => (y) { y = Conv(x, w) }", {"w": weight}))
    scheme, x = tflite_scheme("int8"), np.linspace(-4, 4, 24, dtype=np.float32).reshape(1, 8, 3, 1)
    table = {"x": (-1.0, 2.0), "y": (-100.0, 100.0)}
    plan = make_plan(assign(model.graph, scheme), scheme, lambda name, within, symmetric: table[name], "min-max")
    view = fake_quantized_view(model, plan, scheme)
    given = torch.from_numpy(x).requires_grad_()
    view(given)[0].sum().backward()
    w, qx = plan.tensors["w"].qparams, plan.tensors["x"].qparams
    assert w is not None
    assert qx is not None
    inside = (x > -1.0 - float(qx.scale) / 2) & (x < 2.0 + float(qx.scale) / 2)
    assert 0 < inside.sum() < inside.size
    np.testing.assert_allclose(given.grad, inside * w.restored(weight).sum(axis=0)[None], rtol=1e-5)
    (parameter,) = parameters_by_name(view).values()
    sums = qx.restored(x).sum(axis=(0, 2, 3))
    np.testing.assert_allclose(parameter.grad[..., 0, 0], np.tile(sums, (4, 1)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("precision", ["int8", "int4-weights", "int8-weights"])
def test_scales_follow_the_weights_and_planning_finds_the_trained_integers(precision: str) -> None:
    """Other weights stand for training, 64 rows for blocks of 32; ONNX Runtime runs the graph planned anew."""
    model, weight = _product(64, 6)
    scheme, feeds = tflite_scheme(precision), {"x": normal(3, 64)}
    plan = _plan(model, scheme, feeds)
    view = fake_quantized_view(model, plan, scheme)
    assert trained_graph(model, view)[1] == ()
    with torch.no_grad():
        (parameter,) = parameters_by_name(view).values()
        parameter.mul_(torch.tensor([0.25, 0.5, 1, 2, 3, 0])).add_(torch.from_numpy(normal(64, 6, seed=2)) * 0.05)
        (got,) = view(torch.from_numpy(feeds["x"]))
    trained, changed = trained_graph(model, view)
    assert changed == ("w",)
    stored = trained.graph.initializers["w"].const_value
    assert stored is not None
    again = _plan(trained, scheme, feeds)
    entry = again.tensors["w"].qparams
    assert entry is not None
    np.testing.assert_allclose(entry.restored(stored.numpy()), stored.numpy(), rtol=1e-6, atol=1e-7)
    if precision != "int8":  # there the ranges of x and y are planned anew, too
        want = _simulated(trained, again, scheme, feeds)["y"]
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-4, atol=1e-4)
    before = model.graph.initializers["w"].const_value
    assert before is not None
    np.testing.assert_array_equal(before.numpy(), weight)


def test_channels_of_zeros_stay_finite() -> None:
    weight = normal(8, 4)
    weight[:, 1] = 0
    model = canonicalize(model_of("g (float[3,8] x) => (y) { y = MatMul(x, w) }", {"w": weight}))
    scheme, feeds = tflite_scheme("int8"), {"x": normal(3, 8)}
    view = fake_quantized_view(model, _plan(model, scheme, feeds), scheme)
    (parameter,) = parameters_by_name(view).values()
    with torch.no_grad():
        parameter[:, 2] = 0
    (got,) = view(torch.from_numpy(feeds["x"]))
    got.sum().backward()
    assert bool(torch.isfinite(got).all())
    assert bool(torch.isfinite(parameter.grad).all())
    assert float(got.detach()[:, 1:3].abs().max()) == 0


def test_training_lowers_the_loss(cnn: ir.Model) -> None:
    """Weights of 4 bits learn to give what the float model gives."""
    scheme, feeds = tflite_scheme("int4-weights"), {"image": IMAGES}
    view = fake_quantized_view(cnn, _plan(cnn, scheme, feeds), scheme)
    want = torch.from_numpy(reference(cnn, feeds)["logits"])
    optimizer = torch.optim.Adam(view.parameters(), 1e-3)
    losses = []
    for _ in range(40):
        loss = (view(torch.from_numpy(IMAGES))[0] - want).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 4


def test_what_has_no_gradient_is_refused(cnn: ir.Model) -> None:
    scheme = coreml_scheme("palettized-4")
    with pytest.raises(ModelError, match="fine-tuning takes int8"):
        fake_quantized_view(cnn, _plan(cnn, scheme, {"image": IMAGES}), scheme)
