"""The three arithmetics on programs declared fp16: what is rounded, what overflows, how sums accumulate."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeport.targets.coreml.evaluator.program import TensorType
from edgeport.targets.coreml.evaluator.run import Evaluator

RNG = np.random.default_rng(11)
IMAGE = RNG.standard_normal((1, 6, 8, 8)).astype(np.float16)
WEIGHT = RNG.standard_normal((6, 6, 3, 3)).astype(np.float16)
DEPTHWISE = RNG.standard_normal((6, 1, 3, 3)).astype(np.float16)
MATRIX = (0.01 * RNG.standard_normal((5, 6))).astype(np.float16)


def _network(mb: Any, x: Any) -> list[Any]:
    x = mb.conv(x=x, weight=WEIGHT, pad_type="same", name="conv")
    pooled = mb.max_pool(x=mb.relu6(x=x), kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid")
    wide = mb.conv(x=pooled, weight=DEPTHWISE, groups=6, pad_type="valid", name="depthwise")
    back = mb.conv_transpose(x=wide, weight=WEIGHT, name="back")
    rows = mb.transpose(x=mb.reshape(x=back, shape=[6, -1]), perm=[1, 0])
    both = mb.concat(values=[rows, mb.maximum(x=rows, y=np.float16(0.1))], axis=0)
    dense = mb.linear(x=both, weight=MATRIX, name="dense")
    return [mb.matmul(x=dense, y=dense, transpose_y=True, name="product"), mb.softmax(x=dense, name="softmax")]


@pytest.fixture(scope="module")
def network(save: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, _ = save(tmp_path_factory.mktemp("halves") / "m.mlpackage", _network, "iOS17", {"x": IMAGE})
    return Path(path)


@pytest.mark.parametrize("arithmetic", ["declared", "accumulate16"])
def test_every_value_declared_fp16_holds_fp16(network: Path, arithmetic: Any) -> None:
    """Those of operations that are not rounded since they only pass on what is, too."""
    evaluator = Evaluator(network, arithmetic=arithmetic)
    evaluation = evaluator.run({"x": IMAGE}, keep=None)
    operations = evaluator.package.interfaces["main"].function.block.operations
    declared = {output.name: output.type for operation in operations for output in operation.outputs}
    halves = [name for name in evaluation.values if getattr(declared[name], "dtype", "") == "fp16"]
    assert len(halves) >= 12
    for name in halves:
        value = evaluation.values[name]
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, value.astype(np.float16).astype(np.float32), err_msg=name)
    assert not evaluation.overflows


def test_nothing_is_rounded_in_float32(network: Path) -> None:
    values = Evaluator(network).run({"x": IMAGE}, keep=["conv"]).values
    assert set(values) == {"conv"}
    assert (values["conv"] != values["conv"].astype(np.float16)).any()


def _in_sequence(terms: np.ndarray) -> np.ndarray:
    """Sum over the last axis with the running value rounded to fp16 after each term."""
    total = np.zeros(terms.shape[:-1], np.float16)
    for index in range(terms.shape[-1]):
        total = (total.astype(np.float32) + terms[..., index]).astype(np.float16)
    return total.astype(np.float32)


def test_sums_of_products_accumulate_in_fp16(save: Any, tmp_path: Path) -> None:
    """Linear, matmul and convolutions against the sums written out, in the order of the weights."""
    x = RNG.standard_normal((3, 40)).astype(np.float16)
    weight = RNG.standard_normal((7, 40)).astype(np.float16)
    image = x.reshape(1, 10, 3, 4)
    kernel = RNG.standard_normal((4, 5, 2, 2)).astype(np.float16)

    def build(mb: Any, x: Any, image: Any) -> list[Any]:
        return [
            mb.linear(x=x, weight=weight, name="linear"),
            mb.matmul(x=x, y=weight, transpose_y=True, name="matmul"),
            mb.conv(x=image, weight=kernel, groups=2, pad_type="valid", name="conv"),
        ]

    inputs = {"x": x, "image": image}
    path, _ = save(tmp_path / "m.mlpackage", build, "iOS17", inputs)
    found = Evaluator(path, arithmetic="accumulate16").run(inputs).outputs
    exact = Evaluator(path).run(inputs).outputs

    sums = _in_sequence(x.astype(np.float32)[:, None] * weight.astype(np.float32))
    windows = np.lib.stride_tricks.sliding_window_view(image[0].astype(np.float32), (2, 2), axis=(1, 2))
    terms = windows.reshape(2, 1, 5, 2, 3, 4).transpose(0, 1, 3, 4, 2, 5).reshape(2, 1, 2, 3, 20)
    conv = _in_sequence(terms * kernel.reshape(2, 2, 1, 1, 20).astype(np.float32)).reshape(1, 4, 2, 3)
    for name, want in (("linear", sums), ("matmul", sums), ("conv", conv)):
        np.testing.assert_array_equal(found[name], want, err_msg=name)
        # The two edges of the band differ, by no more than 40 roundings of partial sums below 32.
        assert 0 < np.abs(found[name] - exact[name]).max() < 40 * 2.0**-6


@pytest.mark.parametrize("size", [1e-4, 1e-2, 1.0, 300.0, 3000.0])
def test_long_sums_round_as_fp16_numbers_do(save: Any, tmp_path: Path, size: float) -> None:
    """Under fp16's normal range, inside of it and beyond, on more sums than are computed side by side."""
    x = (RNG.standard_normal((9, 30)) * size).astype(np.float16)
    y = RNG.standard_normal((30, 4100)).astype(np.float16)
    path, (value,) = save(tmp_path / "m.mlpackage", lambda mb, x: mb.matmul(x=x, y=y), "iOS17", {"x": x})
    found = Evaluator(path, arithmetic="accumulate16").run({"x": x}).outputs[value.name]
    total = np.zeros((9, 4100), np.float16)
    with np.errstate(over="ignore", invalid="ignore"):
        for index in range(30):
            terms = x[:, index, None].astype(np.float32) * y[index].astype(np.float32)
            total = (total.astype(np.float32) + terms).astype(np.float16)
    np.testing.assert_array_equal(found, total.astype(np.float32))
    assert np.isinf(found).any() == (size > 1000)


def test_overflow_is_recorded_with_its_magnitude(save: Any, tmp_path: Path) -> None:
    x = np.float16([[300.0, 1.0]])

    def build(mb: Any, x: Any) -> Any:
        squares = mb.mul(x=x, y=x, name="squares")
        return mb.real_div(x=squares, y=np.float16(4), name="y")

    path, _ = save(tmp_path / "m.mlpackage", build, "iOS17", {"x": x})
    assert not Evaluator(path).run({"x": x}).overflows

    evaluation = Evaluator(path, arithmetic="declared").run({"x": x})

    (overflow,) = evaluation.overflows  # the division of infinity is its consequence, not another one
    assert (overflow.value, overflow.kind, overflow.magnitude, overflow.dtype) == ("squares", "mul", 90000.0, "fp16")
    np.testing.assert_array_equal(evaluation.outputs["y"], [[np.inf, 0.25]])


def test_a_running_sum_that_leaves_fp16_is_recorded(save: Any, tmp_path: Path) -> None:
    """Its end would fit: 60000 + 60000 - 60000."""
    x = np.float16([[60000, 60000, -60000]])

    def build(mb: Any, x: Any) -> list[Any]:
        total = mb.reduce_sum(x=x, axes=[1], keep_dims=False, name="sum")
        line = mb.expand_dims(x=mb.reverse(x=x), axes=[0])  # the last element meets the first tap
        kernel = np.ones((1, 1, 3), np.float16)
        spread = mb.conv_transpose(x=line, weight=kernel, pad_type="custom", pad=[2, 2], name="spread")
        return [mb.matmul(x=x, y=np.ones((3, 1), np.float16), name="product"), total, spread]

    path, _ = save(tmp_path / "m.mlpackage", build, "iOS17", {"x": x})
    assert not Evaluator(path, arithmetic="declared").run({"x": x}).overflows
    overflows = Evaluator(path, arithmetic="accumulate16").run({"x": x}).overflows
    names = ("sum", "product", "spread")
    assert {overflow.value: overflow.magnitude for overflow in overflows} == dict.fromkeys(names, 65520.0)


def test_integers_that_leave_their_type_are_recorded(save: Any, tmp_path: Path) -> None:
    x = np.int32([[70000, 3]])
    path, _ = save(tmp_path / "m.mlpackage", lambda mb, x: mb.mul(x=x, y=x, name="y"), "iOS17", {"x": x})
    (overflow,) = Evaluator(path).run({"x": x}).overflows
    assert (overflow.value, overflow.magnitude, overflow.dtype) == ("y", 4.9e9, "int32")


def test_values_are_freed_after_their_last_use(save: Any, tmp_path: Path) -> None:
    x = np.ones((1 << 18,), np.float32)

    def build(mb: Any, x: Any) -> Any:
        for _ in range(40):
            x = mb.add(x=x, y=np.float32(1))
        return x

    path, (value,) = save(tmp_path / "m.mlpackage", build, "iOS17", {"x": x})
    evaluator = Evaluator(path)
    tracemalloc.start()
    outputs = evaluator.run({"x": x}).outputs
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(outputs[value.name], 41)
    assert peak < 4 * x.nbytes  # an operation's argument and result, and something for Python


def test_values_are_kept_on_demand_and_states_live_on(save: Any, tmp_path: Path) -> None:
    def build(mb: Any, x: Any, held: Any) -> Any:
        total = mb.add(x=mb.read_state(input=held), y=x, name="total")
        return mb.coreml_update_state(state=held, value=total, name="y")

    x = np.float16([1.5, 2.5])
    path, _ = save(tmp_path / "m.mlpackage", build, "iOS18", {"x": x}, {"held": np.zeros(2, np.float16)})
    evaluator = Evaluator(path)
    assert dict(evaluator.states) == {"held": TensorType("fp16", (2,))}
    state: dict[str, np.ndarray] = {}
    for run in (1, 2, 3):
        evaluation = evaluator.run({"x": x}, keep=["total"], state=state)
        np.testing.assert_array_equal(evaluation.outputs["y"], run * x)
        np.testing.assert_array_equal(evaluation.values["total"], run * x)
    np.testing.assert_array_equal(evaluator.run({"x": x}).outputs["y"], x)  # without it, from zero
