"""Convolutions and pools of the evaluator against PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeport.targets.coreml.evaluator.registry import EvaluationError
from edgeport.targets.coreml.evaluator.run import Evaluator

torch = pytest.importorskip("torch")
F = torch.nn.functional

RNG = np.random.default_rng(5)


def _random(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def _agree(found: Any, expected: Any) -> None:
    found = found[0][1] if isinstance(found, list) else found
    # Float32 sums of up to a few hundred terms of size 1, in another order.
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-4, atol=3e-5)


def _padded(x: np.ndarray, pads: list[int], value: float = 0.0) -> Any:
    """PyTorch pads from the last dimension on; MIL lists the first spatial dimension first."""
    pairs = [pads[i : i + 2] for i in range(0, len(pads), 2)]
    return F.pad(torch.from_numpy(x), [amount for pair in reversed(pairs) for amount in pair], value=value)


CONVOLUTIONS = {
    "pointwise": ((2, 5, 6, 7), (4, 5, 1, 1), {}),
    "pointwise-strided": ((2, 5, 6, 7), (4, 5, 1, 1), {"strides": [2, 3]}),
    "square": ((2, 5, 9, 8), (4, 5, 3, 3), {"pad_type": "custom", "pad": [1, 0, 2, 1], "strides": [2, 1]}),
    "dilated": ((1, 3, 12, 11), (4, 3, 3, 2), {"dilations": [2, 3]}),
    "grouped": ((2, 6, 7, 7), (4, 3, 3, 3), {"groups": 2, "pad_type": "custom", "pad": [1, 1, 1, 1]}),
    "depthwise": (
        (2, 6, 7, 8),
        (6, 1, 3, 3),
        {"groups": 6, "pad_type": "custom", "pad": [1, 1, 1, 1], "strides": [2, 2]},
    ),
    "depthwise-twofold": ((2, 3, 7, 8), (6, 1, 3, 2), {"groups": 3, "dilations": [2, 1]}),
    "depthwise-large": ((1, 40, 40, 40), (40, 1, 3, 3), {"groups": 40}),
    "line": ((2, 4, 20), (3, 4, 5), {"strides": [3]}),
    "volume": ((1, 2, 5, 6, 7), (3, 2, 2, 3, 2), {"strides": [1, 2, 1]}),
    "many-rows": ((1, 24, 90, 80), (8, 24, 5, 5), {}),
}


def _all(save: Any, path: Any, cases: dict[str, Any], build: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Every case in one program, on an input of its own name: case -> input and result."""
    arrays = {f"x{index}": _random(*case[0]) for index, case in enumerate(cases.values())}
    made = list(cases.values())
    path, values = save(
        path, lambda mb, **xs: [build(mb, x, case) for x, case in zip(xs.values(), made, strict=True)], "iOS17", arrays
    )
    found = Evaluator(path).run(arrays, keep=None).values
    return {case: (array, found[value.name]) for case, array, value in zip(cases, arrays.values(), values, strict=True)}


@pytest.fixture(scope="module")
def convolved(save: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    def build(mb: Any, x: Any, case: Any) -> Any:
        _, weights, options = case
        return mb.conv(x=x, weight=_weight(*weights), **{"pad_type": "valid"} | options)

    return _all(save, tmp_path_factory.mktemp("conv") / "m.mlpackage", CONVOLUTIONS, build)


def _weight(*shape: int) -> np.ndarray:
    """The same weights for the same shape."""
    return np.random.default_rng(list(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_conv_is_pytorchs(convolved: dict[str, tuple[np.ndarray, np.ndarray]], case: str) -> None:
    _, weights, options = CONVOLUTIONS[case]
    x, found = convolved[case]
    convolve = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.ndim]
    expected = convolve(
        _padded(x, options.get("pad", [])),
        torch.from_numpy(_weight(*weights)),
        stride=options.get("strides", 1),
        dilation=options.get("dilations", 1),
        groups=options.get("groups", 1),
    )
    _agree(found, expected)


@pytest.mark.parametrize("pad_type", ["same", "same_lower"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation"), [(7, 3, 2, 1), (8, 3, 2, 1), (9, 2, 1, 1), (9, 2, 3, 2), (5, 1, 2, 1)]
)
def test_same_padding_gives_one_window_a_stride(
    evaluate: Any, pad_type: str, size: int, kernel: int, stride: int, dilation: int
) -> None:
    """The odd element is behind for `same`, in front for `same_lower`; ceil(size / stride) windows."""
    x, weight = _random(1, 2, size), _random(3, 2, kernel)

    found = evaluate(
        lambda mb, x: mb.conv(x=x, weight=weight, pad_type=pad_type, strides=[stride], dilations=[dilation]),
        inputs={"x": x},
    )

    total = max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
    pads = [total // 2, total - total // 2]
    padded = _padded(x, pads if pad_type == "same" else pads[::-1])
    _agree(found, F.conv1d(padded, torch.from_numpy(weight), stride=stride, dilation=dilation))


def test_weights_may_be_computed(evaluate: Any) -> None:
    x, weight = _random(1, 3, 6, 6), _random(4, 3, 3, 3)
    found = evaluate(lambda mb, x, w: mb.conv(x=x, weight=w, pad_type="valid"), inputs={"x": x, "w": weight})
    _agree(found, F.conv2d(torch.from_numpy(x), torch.from_numpy(weight)))


TRANSPOSED = {
    "plain": ((2, 4, 5, 6), (4, 3, 3, 2), {}, {}),
    "strided": ((1, 4, 5, 6), (4, 3, 3, 3), {"strides": [2, 3]}, {"stride": (2, 3)}),
    "padded": (
        (1, 4, 5, 6),
        (4, 3, 3, 3),
        {"strides": [2, 2], "pad_type": "custom", "pad": [1, 1, 1, 1]},
        {"stride": 2, "padding": 1},
    ),
    "grouped-dilated": (
        (1, 4, 5, 6),
        (4, 2, 3, 3),
        {"groups": 2, "dilations": [2, 1]},
        {"groups": 2, "dilation": (2, 1)},
    ),
    "depthwise": ((1, 4, 5, 6), (4, 1, 2, 2), {"groups": 4, "strides": [2, 2]}, {"groups": 4, "stride": 2}),
    "output-padding": (
        (1, 4, 5, 6),
        (4, 3, 3, 3),
        {"strides": [2, 2], "pad_type": "custom", "pad": [1, 1, 1, 1], "output_shape": [1, 3, 10, 12]},
        {"stride": 2, "padding": 1, "output_padding": 1},
    ),
    "output-beyond-the-kernel": (
        (1, 2, 3, 3),
        (2, 3, 2, 2),
        {"strides": [3, 3], "pad_type": "custom", "pad": [0, 0, 0, 0], "output_shape": [1, 3, 9, 9]},
        {"stride": 3, "output_padding": 1},
    ),
    "line": ((2, 4, 9), (4, 3, 4), {"strides": [2]}, {"stride": 2}),
    "volume": ((1, 2, 3, 4, 3), (2, 3, 2, 2, 2), {"strides": [2, 1, 1]}, {"stride": (2, 1, 1)}),
}


@pytest.fixture(scope="module")
def transposed(save: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    def build(mb: Any, x: Any, case: Any) -> Any:
        _, weights, options, _ = case
        bias = _weight(weights[1] * options.get("groups", 1))
        return mb.conv_transpose(x=x, weight=_weight(*weights), bias=bias, **options)

    return _all(save, tmp_path_factory.mktemp("transposed") / "m.mlpackage", TRANSPOSED, build)


@pytest.mark.parametrize("case", TRANSPOSED)
def test_conv_transpose_is_pytorchs(transposed: dict[str, tuple[np.ndarray, np.ndarray]], case: str) -> None:
    _, weights, options, torch_options = TRANSPOSED[case]
    x, found = transposed[case]
    convolve = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}[x.ndim]
    bias = _weight(weights[1] * options.get("groups", 1))
    tensors = (torch.from_numpy(array) for array in (x, _weight(*weights), bias))
    _agree(found, convolve(*tensors, **torch_options))


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (2, 3), (3, 1)])
def test_transposed_same_padding_undoes_same(evaluate: Any, kernel: int, stride: int) -> None:
    """A transposed convolution is the gradient of the convolution with `same` padding on the larger side."""
    x, weight = _random(1, 4, 5), _random(4, 3, kernel)

    found = evaluate(
        lambda mb, x: mb.conv_transpose(x=x, weight=weight, pad_type="same", strides=[stride]), inputs={"x": x}
    )

    large = torch.zeros(1, 3, 5 * stride, requires_grad=True)
    total = max(0, 4 * stride + kernel - 5 * stride)
    padded = F.pad(large, [total // 2, total - total // 2])
    F.conv1d(padded, torch.from_numpy(weight), stride=stride).backward(torch.from_numpy(x))
    _agree(found, large.grad)


POOLS = {
    "plain": ((2, 3, 8, 9), [2, 3], [2, 2], [0, 0, 0, 0], False),
    "padded": ((2, 3, 8, 9), [3, 3], [2, 1], [1, 1, 1, 1], False),
    "ceil": ((1, 2, 8, 9), [3, 2], [2, 2], [1, 1, 1, 1], True),
    "ceil-drops-the-last": ((1, 2, 5, 5), [2, 2], [3, 3], [1, 1, 1, 1], True),
    "ceil-unpadded": ((1, 2, 6, 7), [3, 3], [2, 2], [0, 0, 0, 0], True),
    "line": ((2, 3, 17), [5], [3], [2, 2], False),
    "volume": ((1, 2, 5, 6, 7), [2, 2, 3], [1, 2, 2], [1, 1, 0, 0, 1, 1], False),
}


POOLED = {f"{kind}-{case}": POOLS[case] for kind in ("max", "avg", "avg_excluding") for case in POOLS}


@pytest.fixture(scope="module")
def pooled(save: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    kinds = iter(POOLED)

    def build(mb: Any, x: Any, case: Any) -> Any:
        _, kernel, strides, pad, rounds_up = case
        kind = next(kinds).split("-")[0]
        counted = {"exclude_padding_from_average": kind == "avg_excluding"} if kind != "max" else {}
        options = {"kernel_sizes": kernel, "strides": strides, "pad_type": "custom", "pad": pad}
        return getattr(mb, f"{kind[:3]}_pool")(x=x, ceil_mode=rounds_up, **options, **counted)

    return _all(save, tmp_path_factory.mktemp("pools") / "m.mlpackage", POOLED, build)


@pytest.mark.parametrize("case", POOLED)
def test_pools_are_pytorchs(pooled: dict[str, tuple[np.ndarray, np.ndarray]], case: str) -> None:
    _, kernel, strides, pad, rounds_up = POOLED[case]
    x, found = pooled[case]
    kind = case.split("-")[0]
    pool = getattr(F, f"{kind[:3]}_pool{len(kernel)}d")
    included = {"count_include_pad": kind == "avg"} if kind != "max" else {}
    _agree(found, pool(torch.from_numpy(x), kernel, strides, pad[::2], ceil_mode=rounds_up, **included))


def test_uneven_padding_counts_in_an_average(evaluate: Any) -> None:
    x = _random(1, 1, 6)
    options = {"kernel_sizes": [4], "strides": [2], "pad_type": "custom", "pad": [2, 1]}
    found = evaluate(lambda mb, x: mb.avg_pool(x=x, **options), inputs={"x": x})
    _agree(found, F.avg_pool1d(_padded(x, [2, 1]), 4, 2))


def test_l2_pool_is_the_root_of_a_sum_of_squares(evaluate: Any) -> None:
    x = _random(1, 2, 6, 6)
    found = evaluate(lambda mb, x: mb.l2_pool(x=x, kernel_sizes=[2, 3], pad_type="valid"), inputs={"x": x})
    _agree(found, F.lp_pool2d(torch.from_numpy(x), 2, (2, 3), stride=1))


def test_a_pooling_window_behind_all_elements_is_refused(evaluate: Any) -> None:
    """Unpadded, MIL's rule for ceil_mode keeps a window that begins where the input ends; PyTorch drops it."""
    given = {"kernel_sizes": [1], "strides": [2], "pad_type": "valid", "ceil_mode": True}
    with pytest.raises(EvaluationError, match="max_pool.*behind all elements"):
        evaluate(lambda mb, x: mb.max_pool(x=x, **given), inputs={"x": _random(1, 1, 4)})
