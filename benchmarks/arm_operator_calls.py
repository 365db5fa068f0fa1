"""Random calls of the engine qnnpack's operators, with what the numpy reference expects of a phone.

Both ends of the range come more often than by chance, and many scales make ties.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeport.quantize.plan import QParams
from edgeport.targets.qnnpack import reference

_ONE = (1, 1)
_ZERO_POINTS = (0, 3, 77, 128, 201, 255)


@dataclass(frozen=True)
class Variant:
    """One call of an operator: its arrays, the call (of the packed weights, if any, and tensors), the output expected,
    and the weights as the engine packs them."""

    arrays: tuple[np.ndarray, ...]
    run: Callable[..., Any]
    expected: np.ndarray
    packed: Any = None


def _log_uniform(rng: np.random.Generator, low: float, high: float, size: int | None = None) -> Any:
    return np.exp(rng.uniform(np.log(low), np.log(high), size)).astype(np.float32)


def _activation(rng: np.random.Generator, scale: float) -> QParams:
    return QParams("uint8", np.asarray(scale, np.float32), np.asarray(rng.choice(_ZERO_POINTS), np.int32))


def _integers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    ends = rng.random(shape)
    q = rng.integers(0, 256, shape)
    return np.where(ends < 0.05, 0, np.where(ends > 0.95, 255, q)).astype(np.uint8)


def _weights(rng: np.random.Generator, *shape: int, axis: int = 0) -> tuple[np.ndarray, QParams]:
    scale = _log_uniform(rng, 0.002, 0.06, shape[axis])
    return rng.integers(-128, 128, shape).astype(np.int8), QParams("int8", scale, np.zeros(scale.shape, np.int32), axis)


def _numbers(qparams: QParams) -> tuple[float, int]:
    return float(qparams.scale), int(qparams.zero_point)


def _tensor(q: Any, qparams: QParams) -> Any:
    """A torch tensor that holds exactly these integers, which are a numpy array or a torch tensor."""
    import torch

    values = torch.from_numpy(q) if isinstance(q, np.ndarray) else q
    if qparams.axis is None:
        return torch._make_per_tensor_quantized_tensor(values, *_numbers(qparams))
    scales = torch.from_numpy(qparams.scale.astype(np.float64))
    return torch._make_per_channel_quantized_tensor(values, scales, torch.zeros(len(scales)).long(), qparams.axis)


def _quantize(rng: np.random.Generator) -> Variant:
    """Floats halfway between two steps, or one or two of float32's steps beside that, within and beyond the range."""
    import torch

    qparams = _activation(rng, float(_log_uniform(rng, 1e-6, 100)))
    x = ((rng.integers(-20, 280, 20_000) - int(qparams.zero_point) + 0.5) * qparams.scale).astype(np.float32)
    for _ in range(2):
        x = np.nextafter(x, x + rng.integers(-1, 2, x.size).astype(np.float32)).astype(np.float32)
    return Variant(
        (x,),
        lambda t: torch.quantize_per_tensor(t, *_numbers(qparams), torch.quint8).int_repr(),
        reference.quantize(x, qparams, machine="phone"),
    )


def _dequantize(rng: np.random.Generator) -> Variant:
    qparams = _activation(rng, float(_log_uniform(rng, 1e-6, 100)))
    x = np.arange(256, dtype=np.uint8)
    return Variant((x,), lambda t: _tensor(t, qparams).dequantize(), reference.dequantize(x, qparams))


def _kernel(
    rng: np.random.Generator, x_shape: Sequence[int], w_shape: Sequence[int], operator: str, **attributes: Any
) -> Variant:
    """A convolution, transposed convolution or linear layer, with a bias, and the output's range mostly filled."""
    import torch

    transposed = operator.startswith("conv_transpose")
    axis = 1 if transposed else 0
    relu = operator.endswith("_relu")
    x, (w, w_q) = _integers(rng, *x_shape), _weights(rng, *w_shape, axis=axis)
    x_q = _activation(rng, float(_log_uniform(rng, 0.001, 2)))
    terms = w.size // w_shape[axis]
    spread = float(x_q.scale * np.median(w_q.scale) * 74 * 130 * np.sqrt(terms))
    y_q = _activation(rng, spread / float(rng.choice([40, 40, 1, 4000])))
    bias = (rng.standard_normal(w_shape[axis]) * spread).astype(np.float32)
    pack = getattr(torch.ops.quantized, f"{operator.removesuffix('_relu')}_prepack")
    call = getattr(torch.ops.quantized, operator)
    ours = {"conv_transpose2d": reference.conv_transpose, "linear": reference.linear, "linear_relu": reference.linear}
    expected = ours.get(operator, reference.conv)(
        x, w, reference.quantize_bias(bias, x_q, w_q, axis=axis), x_q, w_q, y_q, machine="phone", **attributes,
        **({} if transposed else {"relu": relu}),
    )  # fmt: skip
    packed = pack(_tensor(w, w_q), torch.from_numpy(bias), *map(_plain, attributes.values()))
    return Variant((x,), lambda held, t: call(_tensor(t, x_q), held, *_numbers(y_q)).int_repr(), expected, packed)


def _plain(attribute: Any) -> Any:
    return attribute if isinstance(attribute, int) else list(attribute)


def _conv(groups: int, inputs: int, outputs: int, *, kernel: int = 3, dilation: int = 1, relu: bool = False) -> Any:
    def make(rng: np.random.Generator) -> Variant:
        stride, padding = int(rng.integers(1, 3)), int(rng.integers(0, 3))
        size = (kernel - 1) * dilation + int(rng.integers(4, 12))
        return _kernel(
            rng, (2, groups * inputs, size, size + 1), (groups * outputs, inputs, kernel, kernel),
            "conv2d_relu" if relu else "conv2d", strides=(stride, stride), padding=(padding, padding),
            dilations=(dilation, dilation), groups=groups,
        )  # fmt: skip

    return make


def _conv_transpose(rng: np.random.Generator) -> Variant:
    stride = int(rng.integers(1, 3))
    return _kernel(
        rng, (2, 9, 7, 6), (9, 13, 3, 3), "conv_transpose2d", strides=(stride, stride), padding=_ONE,
        output_padding=(stride - 1, stride - 1), dilations=_ONE, groups=1,
    )  # fmt: skip


def _linear(relu: bool) -> Callable[[np.random.Generator], Variant]:
    return lambda rng: _kernel(rng, (5, 7, 130), (37, 130), "linear_relu" if relu else "linear")


def _beyond_int32(rng: np.random.Generator) -> Variant:
    """Scaled sums of 2**31 and more, which a phone saturates and a desktop makes the smallest number."""
    import torch

    x, w = rng.integers(250, 256, (3, 8)).astype(np.uint8), rng.integers(100, 128, (4, 8)).astype(np.int8)
    one, fine = (_q("uint8", 1.0, 0), _q("uint8", 1e-6, int(rng.integers(1, 200))))
    w_q = _q("int8", 1.0, 0)
    packed = torch.ops.quantized.linear_prepack(_tensor(w, w_q), None)
    return Variant(
        (x,),
        lambda held, t: torch.ops.quantized.linear(_tensor(t, one), held, *_numbers(fine)).int_repr(),
        reference.linear(x, w, None, one, w_q, fine, machine="phone"),
        packed,
    )


def _q(dtype: Any, scale: float, zero_point: int) -> QParams:
    return QParams(dtype, np.asarray(scale, np.float32), np.asarray(zero_point, np.int32))


def _dynamic_linear(rng: np.random.Generator) -> Variant:
    import torch

    w, w_q = _weights(rng, 37, 130)
    x, bias = rng.standard_normal((5, 7, 130)).astype(np.float32), rng.standard_normal(37).astype(np.float32)
    packed = torch.ops.quantized.linear_prepack(_tensor(w, w_q), torch.from_numpy(bias))
    return Variant(
        (x,),
        lambda held, t: torch.ops.quantized.linear_dynamic(t, held),
        reference.linear_dynamic(x, w, bias, w_q, machine="phone"),
        packed,
    )


def _sum(relu: bool) -> Callable[[np.random.Generator], Variant]:
    def make(rng: np.random.Generator) -> Variant:
        import torch

        y_q = _q("uint8", float(_log_uniform(rng, 1e-4, 10)), int(rng.choice(_ZERO_POINTS[:-1])))
        factors = rng.choice([1, 0.5, 0.25, 0.75, 1.5, 2], 2) if rng.random() < 0.5 else _log_uniform(rng, 0.03, 30, 2)
        a_q, b_q = (_activation(rng, float(y_q.scale * np.float32(factor))) for factor in factors)
        a, b = _integers(rng, 3, 17, 9), _integers(rng, 3, 17, 9)
        call = torch.ops.quantized.add_relu if relu else torch.ops.quantized.add
        return Variant(
            (a, b),
            lambda s, t: call(_tensor(s, a_q), _tensor(t, b_q), *_numbers(y_q)).int_repr(),
            reference.add(a, b, a_q, b_q, y_q, relu=relu),
        )

    return make


def _mul(rng: np.random.Generator) -> Variant:
    import torch

    y_q = _activation(rng, float(_log_uniform(rng, 1e-4, 10)))
    a_q = _activation(rng, 0.5)
    b_q = _activation(rng, float(y_q.scale) * float(rng.choice([0.5, 0.25, 0.01, 0.001, 3])) / 0.5)
    a, b = _integers(rng, 2, 9, 5, 6), _integers(rng, 2, 9, 1, 1)
    return Variant(
        (a, b),
        lambda s, t: torch.ops.quantized.mul(_tensor(s, a_q), _tensor(t, b_q), *_numbers(y_q)).int_repr(),
        reference.mul(a, b, a_q, b_q, y_q),
    )


def _cat(rng: np.random.Generator) -> Variant:
    """By channels, of two inputs with scales of their own and one with the output's, in either layout of memory."""
    import torch

    y_q = _activation(rng, float(_log_uniform(rng, 1e-3, 10)))
    layout = torch.channels_last if rng.random() < 0.5 else torch.contiguous_format
    qparams = (_activation(rng, float(y_q.scale) * 0.5), y_q, _activation(rng, float(y_q.scale) * 1.5))
    arrays = tuple(_integers(rng, 2, int(rng.integers(5, 40)), 5, 4) for _ in qparams)

    def run(*tensors: Any) -> Any:
        held = [_tensor(t, q).contiguous(memory_format=layout) for t, q in zip(tensors, qparams, strict=True)]
        return torch.ops.quantized.cat(held, 1, *_numbers(y_q)).int_repr()

    return Variant(arrays, run, reference.cat(arrays, qparams, y_q, axis=1, machine="phone"))


def _pooling(kind: str) -> Callable[[np.random.Generator], Variant]:
    def make(rng: np.random.Generator) -> Variant:
        import torch

        x, x_q = _integers(rng, 2, 19, 12, 8), _activation(rng, float(_log_uniform(rng, 1e-3, 10)))
        if kind == "max":
            run = lambda t: torch.max_pool2d(_tensor(t, x_q), [3, 3], [2, 2], [1, 1]).int_repr()  # noqa: E731
            expected = reference.max_pool2d(x, kernel=(3, 3), strides=(2, 2), padding=_ONE)
        elif kind == "average":
            run = lambda t: torch._C._nn.avg_pool2d(_tensor(t, x_q), [3, 2], [2, 2], [1, 1]).int_repr()  # noqa: E731
            expected = reference.avg_pool2d(x, x_q, kernel=(3, 2), strides=(2, 2), padding=_ONE, machine="phone")
        elif kind == "adaptive":
            run = lambda t: torch._C._nn.adaptive_avg_pool2d(_tensor(t, x_q), [3, 4]).int_repr()  # noqa: E731
            expected = reference.adaptive_avg_pool2d(x, x_q, (3, 4), machine="phone")
        else:
            run = lambda t: torch.mean(_tensor(t, x_q), [2, 3]).int_repr()  # noqa: E731
            expected = reference.global_avg_pool(x, x_q, machine="phone")
        return Variant((x,), run, expected)

    return make


def _table(name: str) -> Callable[[np.random.Generator], Variant]:
    def make(rng: np.random.Generator) -> Variant:
        import torch

        x = np.arange(256, dtype=np.uint8)[None]
        x_q, y_q = (_activation(rng, float(_log_uniform(rng, 1e-3, 1))) for _ in "xy")
        if name == "hardswish":
            call = torch.ops.quantized.hardswish
            return Variant(
                (x,), lambda t: call(_tensor(t, x_q), *_numbers(y_q)).int_repr(), reference.hardswish(x, x_q, y_q)
            )
        call = getattr(torch, name)
        return Variant((x,), lambda t: call(_tensor(t, x_q)).int_repr(), getattr(reference, name)(x, x_q))

    return make


OPERATORS: dict[str, Callable[[np.random.Generator], Variant]] = {
    "quantize": _quantize,
    "dequantize": _dequantize,
    "conv": _conv(1, 11, 13),
    "conv_relu": _conv(1, 11, 13, relu=True),
    "conv_1x1": _conv(1, 24, 17, kernel=1),
    "conv_grouped": _conv(3, 5, 4),
    "conv_depthwise": _conv(19, 1, 1),
    "conv_depthwise_5x5": _conv(19, 1, 1, kernel=5),
    "conv_dilated": _conv(1, 7, 9, dilation=2),
    "conv_transpose": _conv_transpose,
    "linear": _linear(relu=False),
    "linear_relu": _linear(relu=True),
    "linear_beyond_int32": _beyond_int32,
    "linear_dynamic": _dynamic_linear,
    "add": _sum(relu=False),
    "add_relu": _sum(relu=True),
    "mul": _mul,
    "cat": _cat,
    "max_pool": _pooling("max"),
    "avg_pool": _pooling("average"),
    "adaptive_avg_pool": _pooling("adaptive"),
    "mean": _pooling("mean"),
    "relu": _table("relu"),
    "sigmoid": _table("sigmoid"),
    "tanh": _table("tanh"),
    "hardswish": _table("hardswish"),
}
