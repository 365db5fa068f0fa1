"""What a torch view is as a module: names, parameters, gradients, and the forms that torch writes it in."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from small_models import small_cnn, smooth_images
from torch import fx
from view_graphs import assert_same, model_of, normal

from edgeport.errors import ModelError, UsageError
from edgeport.preparation import prepare
from edgeport.torch_view.context import NAME
from edgeport.torch_view.runner import TorchViewRunner
from edgeport.torch_view.view import check, torch_view


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return smooth_images(8, 3, 16)


@pytest.fixture
def view() -> fx.GraphModule:
    return torch_view(prepare(small_cnn(), ["image:float32[8,3,16,16]"]).canonical)


def test_small_network_has_every_tensor(images: np.ndarray) -> None:
    assert_same(prepare(small_cnn(), ["image:float32[8,3,16,16]"]).canonical, {"image": images})


def test_nodes_carry_canonical_names() -> None:
    canonical = prepare(small_cnn(), ["image:float32[1,3,16,16]"]).canonical
    named = {str(node.meta[NAME]): node.op for node in torch_view(canonical).graph.nodes if NAME in node.meta}
    assert named.keys() >= {value.name for node in canonical.graph for value in node.outputs}
    assert {name for name, op in named.items() if op == "placeholder"} == {"image"}
    assert {name for name, op in named.items() if op == "get_attr"} <= set(canonical.graph.initializers)


def test_ends_keep_their_order_and_types() -> None:
    model = model_of(
        """g (uint32[2] first, float[2] second, bool[2] third) => (bool[2] c, uint32[2] a, float[2] b) {
        c = Not(third)
        a = Add(first, first)
        b = Relu(second) }"""
    )
    view = torch_view(model)
    nodes = list(view.graph.nodes)
    assert [n.meta[NAME] for n in nodes[:3]] == ["first", "second", "third"]
    assert [n.op for n in nodes[:3]] == ["placeholder"] * 3
    feeds = {"first": np.asarray([2**31, 3], np.uint32), "second": normal(2), "third": np.asarray([True, False])}
    runner = TorchViewRunner(view, model)
    got = runner.run(feeds)
    assert list(got) == ["c", "a", "b"] == list(runner.outputs)
    assert [a.dtype.name for a in got.values()] == ["bool", "uint32", "float32"]
    np.testing.assert_array_equal(got["a"], np.asarray([0, 6], np.uint32))


def test_only_functions_of_torch_are_called(view: fx.GraphModule) -> None:
    called = [node for node in view.graph.nodes if node.op not in ("placeholder", "get_attr", "output")]
    assert {node.op for node in called} == {"call_function"}
    # What is written in C names no module.
    assert {(getattr(node.target, "__module__", None) or "torch").split(".")[0] for node in called} == {"torch"}


def test_names_that_are_no_identifiers() -> None:
    model = model_of("g (float[2,3] x) => (y) { t = MatMul(x, w) y = Add(t, b) }", {"w": normal(3, 4), "b": normal(4)})
    graph = model.graph
    for value, name in zip((*graph.inputs, *graph.initializers.values()), ("1/in:0", "1.in.0", "class"), strict=True):
        value.name = name
    view = torch_view(model)
    assert {n.meta[NAME] for n in view.graph.nodes if n.op == "get_attr"} == {"1.in.0", "class"}
    assert all(name.isidentifier() for name in view.state_dict())
    x = normal(2, 3)
    assert TorchViewRunner(view, model).run({"1/in:0": x})["y"].shape == (2, 4)


@pytest.mark.parametrize("name", ["torch", "self", "inf", "float", "forward", "training", "_"])
def test_names_that_mean_something_to_torch(name: str) -> None:
    text = "g (float[1,2,3] x) => (y) { t = Add(x, b) y = MaxPool<kernel_shape=[2], strides=[2], pads=[0,1]>(t) }"
    model = model_of(text, {"b": normal(2, 1)})
    next(iter(model.graph.inputs)).name = name
    model.graph.initializers["b"].name = f"{name}.b"
    assert_same(model, {name: normal(1, 2, 3)})


def test_value_that_is_passed_on_has_both_names() -> None:
    model = model_of("g (float[3] x) => (y, z) { y = Identity(x) t = Relu(x) z = Identity(t) }")
    assert_same(model, {"x": normal(3)})


def test_weights_train_and_other_constants_do_not() -> None:
    mask = np.asarray([[0, -np.inf], [0, 0]], np.float32)
    model = model_of(
        """g (float[2,2] x) => (y) {
        t = MatMul(x, w)
        s = Mul(t, scale)
        m = Add(s, mask)
        r = Reshape(m, shape)
        y = BatchNormalization(r, gain, offset, mean, variance) }""",
        {
            "w": normal(2, 2),
            "scale": np.asarray(0.5, np.float32),
            "mask": mask,
            "shape": np.asarray([2, 2], np.int64),
            "gain": normal(2, seed=1),
            "offset": normal(2, seed=2),
            "mean": normal(2, seed=3),
            "variance": np.asarray([1, 2], np.float32),
        },
    )
    view = torch_view(model)
    assert set(dict(view.named_parameters())) == {"w", "gain", "offset"}
    assert set(dict(view.named_buffers())) >= {"scale", "mask", "mean", "variance"}


def test_scales_are_no_weights() -> None:
    text = "g (float[2,3] x) => (y) { q = QuantizeLinear<axis=1>(x, s, z) y = DequantizeLinear<axis=1>(q, s, z) }"
    model = model_of(text, {"s": np.asarray([0.1, 0.2, 0.3], np.float32), "z": np.zeros(3, np.int8)})
    assert dict(torch_view(model).named_parameters()) == {}
    assert_same(model, {"x": normal(2, 3)})


def test_training_lowers_the_loss(view: fx.GraphModule, images: np.ndarray) -> None:
    x, wanted = torch.from_numpy(images), torch.from_numpy(normal(8, 10))
    optimizer = torch.optim.Adam(view.parameters(), 0.01)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(view(x)[0], wanted)
        loss.backward()
        assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in view.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit:DeprecationWarning",
    "ignore:.*torch.jit:FutureWarning",
    "ignore:The TorchScript type system:UserWarning",
)
def test_torch_writes_it_in_each_of_its_forms(view: fx.GraphModule, images: np.ndarray) -> None:
    x = torch.from_numpy(images)
    with torch.no_grad():
        wanted = view(x)[0]
        forms = {
            "script": torch.jit.freeze(torch.jit.script(view.eval())),
            "trace": torch.jit.trace(view, (x,)),
            "export": torch.export.export(view, (x,)).module(),
        }
        # Freezing and exporting may fuse an activation, not change a number.
        assert {name: bool(torch.equal(form(x)[0], wanted)) for name, form in forms.items()} == dict.fromkeys(
            forms, True
        )


def test_building_changes_nothing() -> None:
    model = prepare(small_cnn(), ["image:float32[1,3,16,16]"]).canonical
    before = [(n.op_type, [v.name for v in n.outputs]) for n in model.graph]
    view = torch_view(model)
    with torch.no_grad():
        for parameter in view.parameters():
            parameter.zero_()
    assert before == [(n.op_type, [v.name for v in n.outputs]) for n in model.graph]
    assert any(np.any(v.const_value.numpy()) for v in model.graph.initializers.values() if v.const_value is not None)


def test_everything_unsupported_is_told_at_once() -> None:
    proto = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 24, "own" : 1]> g (float[2,3] x) => (float[2,3] y) {
        a = own.Thing(x)
        b = Relu(a)
        c = Gelu<approximate="other">(x)
        y = Add(b, c) }"""
    )
    for name in "abc":
        proto.graph.value_info.append(onnx.helper.make_tensor_value_info(name, 1, [2, 3]))
    model = ir.serde.deserialize_model(proto)
    assert [(f.op, f.severity) for f in check(model)] == [("Thing", "error"), ("Gelu", "error")]
    with pytest.raises(ModelError, match="own::Thing") as raised:
        torch_view(model)
    assert len(raised.value.findings) == 2


def test_samples_that_do_not_fit() -> None:
    model = model_of("g (float[N,3] x) => (y) { y = Relu(x) }")
    runner = TorchViewRunner(torch_view(model), model)
    assert str(runner.inputs[0]) == "x:float32[N,3]"
    with pytest.raises(UsageError, match="has inputs"):
        runner.run({"z": normal(1, 3)})
    with pytest.raises(UsageError, match="has shape"):
        runner.run({"x": normal(1, 4)})
    assert runner.run({"x": normal(7, 3)})["y"].shape == (7, 3)
