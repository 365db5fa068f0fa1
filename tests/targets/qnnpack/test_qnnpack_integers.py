"""Integer kernels of lowered networks: on QNNPACK as in the numpy reference, and as the plan's simulation says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from qnnpack_graphs import Graph, Planned, normal, planned

from edgeport.targets.qnnpack.target import QNNPACK

LEAST_DB = 30.0
"""Between file and simulation: results on a tie are one step of 8 bits apart, in one of many elements."""


def weights(*shape: int, seed: int) -> np.ndarray:
    """Of a layer that keeps the size of its input."""
    return normal(*shape, seed=seed) / np.float32(np.sqrt(np.prod(shape[1:])))


def image(g: Graph, channels: int = 8, axes: int = 2) -> str:
    """An input, and a convolution in front of what a case is about."""
    size = {1: (31,), 2: (13, 11)}[axes]
    x = g.input("x", normal(1, 3, *size))
    kernel = (3,) * axes
    x = g.op("Conv", x, g.const(weights(channels, 3, *kernel, seed=1)), g.const(normal(channels, seed=2)))
    return str(g.op("Relu", x))


def conv(
    g: Graph, x: str, into: int, out: int, *kernel: int, group: int = 1, seed: int = 5, **attributes: object
) -> str:
    w, b = g.const(weights(out, into // group, *kernel, seed=seed)), g.const(normal(out, seed=seed + 1) * 0.1)
    return str(g.op("Conv", x, w, b, group=group, **attributes))


def strided(g: Graph) -> str:
    x = conv(g, image(g), 8, 12, 3, 3, strides=[2, 1], pads=[0, 1, 1, 2])
    return conv(g, x, 12, 4, 1, 1, seed=9)


def depthwise(g: Graph) -> str:
    x = g.op("Clip", conv(g, image(g), 8, 8, 3, 3, group=8, dilations=[2, 2], pads=[2, 2, 2, 2]), *limits(g, 0, 6))
    return conv(g, x, 8, 16, 3, 3, group=4)


def limits(g: Graph, low: float, high: float) -> tuple[str, str]:
    return g.const(np.float32(low)), g.const(np.float32(high))


def clipped(g: Graph) -> str:
    """Limits within the range that Concat shares, so that saturation does not do it."""
    x = image(g)
    y = g.op("Clip", conv(g, x, 8, 8, 1, 1), *limits(g, -0.25, 0.5))
    return conv(g, g.op("Concat", x, y, axis=1), 16, 4, 1, 1, seed=7)


def one_axis(g: Graph) -> str:
    x = g.op("MaxPool", image(g, axes=1), kernel_shape=[3], strides=[2], pads=[0, 1])
    return conv(g, x, 8, 6, 5, pads=[2, 2])


def transposed(g: Graph) -> str:
    w = g.const(weights(8, 6, 3, 3, seed=4))
    x = g.op(
        "ConvTranspose", image(g), w, g.const(normal(6) * 0.1), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]
    )
    return conv(g, g.op("Relu", x), 6, 4, 1, 1)


def transposed_line(g: Graph) -> str:
    x = g.op("ConvTranspose", image(g, axes=1), g.const(weights(8, 6, 4, seed=4)), strides=[2])
    return conv(g, x, 6, 4, 1)


def residual(g: Graph) -> str:
    x = image(g)
    y = g.op("Add", x, conv(g, x, 8, 8, 3, 3, pads=[1, 1, 1, 1]))
    z = g.op("Relu", g.op("Add", y, conv(g, y, 8, 8, 1, 1, seed=7)))
    return conv(g, z, 8, 8, 1, 1, seed=8)


def pooled(g: Graph) -> str:
    x = g.op("MaxPool", image(g), kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
    x = g.op("AveragePool", x, kernel_shape=[2, 2], strides=[1, 1])
    x = g.op("MaxPool", conv(g, x, 8, 8, 1, 1), kernel_shape=[2, 2], strides=[1, 1], pads=[1, 1, 1, 1])
    return conv(g, x, 8, 8, 1, 1, seed=7)


def moved(g: Graph) -> str:
    """Reshapes, slices, pads and nearest neighbours, all of them on integers."""
    x = g.op("Transpose", image(g), perm=[0, 1, 3, 2])
    x = g.op("Slice", x, g.const(np.asarray([1])), g.const(np.asarray([9])), g.const(np.asarray([2])))
    left, right = g.op("Split", x, out=["left", "right"], axis=3, num_outputs=2)
    x = g.op("DepthToSpace", left, blocksize=2)
    x = g.op("Pad", x, g.const(np.asarray([0, 0, 1, 0, 0, 0, 0, 2])))
    x = g.op("Resize", x, "", g.const(np.asarray([1, 1, 2, 2], np.float32)), mode="nearest")
    x = g.op("Pad", x, g.const(np.asarray([0, 0, 2, 2, 0, 0, 0, 0])), mode="reflect")
    first = conv(g, x, 2, 4, 3, 3)
    second = conv(
        g, g.op("SpaceToDepth", g.op("Pad", right, g.const(np.asarray([0] * 6 + [0, 1]))), blocksize=2), 32, 4, 1, 1
    )
    return str(g.op("Concat", g.op("Flatten", first), g.op("Flatten", second), axis=1))


def functions(g: Graph) -> str:
    x = g.op("HardSwish", conv(g, image(g), 8, 8, 1, 1))
    x = g.op("LeakyRelu", conv(g, x, 8, 8, 1, 1, seed=7), alpha=0.1)
    x = g.op("Sigmoid", conv(g, x, 8, 8, 1, 1, seed=9))
    x = g.op("Tanh", conv(g, x, 8, 8, 1, 1, seed=11))
    x = g.op("HardSigmoid", conv(g, x, 8, 8, 1, 1, seed=13), alpha=1 / 6, beta=0.5)
    return conv(g, x, 8, 8, 1, 1, seed=15)


def layers(g: Graph) -> str:
    x = g.op("Flatten", g.op("MaxPool", image(g), kernel_shape=[2, 2], strides=[2, 2]))
    x = g.op("Relu", g.op("Add", g.op("MatMul", x, g.const(weights(160, 32, seed=4) * 3)), g.const(normal(32))))
    x = g.op("Clip", g.op("MatMul", x, g.const(weights(32, 16, seed=5) * 2)), *limits(g, 0, 1))
    return str(g.op("MatMul", x, g.const(weights(16, 10, seed=6))))


def shared(g: Graph) -> str:
    """One filter after the same input scale, with outputs of two scales: a pack each, see `weights._key`."""
    x = image(g)
    y = g.op("MaxPool", x, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    filters = g.const(weights(8, 8, 3, 3, seed=5))
    first, second = (g.op("Conv", v, filters) for v in (x, y))
    return str(g.op("Concat", conv(g, first, 8, 8, 1, 1, seed=7), conv(g, second, 8, 8, 1, 1, seed=9), axis=1))


CASES: dict[Callable[[Graph], str], set[str]] = {
    strided: {"conv2d", "conv2d_relu"},
    depthwise: {"conv2d", "conv2d_relu"},
    clipped: {"cat", "clamp", "conv2d", "conv2d_relu"},
    one_axis: {"conv1d", "conv1d_relu", "max_pool2d"},
    transposed: {"conv2d", "conv2d_relu", "conv_transpose2d"},
    transposed_line: {"conv1d", "conv1d_relu", "conv_transpose1d"},
    residual: {"add", "add_relu", "conv2d", "conv2d_relu"},
    pooled: {"avg_pool2d", "conv2d", "conv2d_relu", "max_pool2d"},
    moved: {"conv2d", "conv2d_relu"},
    functions: {"conv2d", "conv2d_relu", "hardswish", "sigmoid", "tanh"},
    shared: {"conv2d", "conv2d_relu", "max_pool2d"},
    layers: {"conv2d_relu", "linear", "linear_relu", "max_pool2d"},
}
"""Network -> the integer kernels with a reference that it must run."""


pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")


def made(network: Callable[[Graph], str]) -> Planned:
    g = Graph()
    return planned(g, network(g))


@pytest.mark.parametrize("network", CASES, ids=lambda n: n.__name__)
def test_kernels_are_the_references(network: Callable[[Graph], str], tmp_path: Path) -> None:
    net = made(network)
    counts = net.compared()
    assert {name: wrong for name, (_, wrong) in counts.items() if wrong} == {}
    assert CASES[network] <= set(counts), set(counts)
    artifact = net.lower(tmp_path)
    runner = QNNPACK.runner(artifact, net.prepared.canonical)
    sample = net.held[1]
    (got,), (want,) = runner.run(sample).values(), net.simulated(sample).values()
    noise, power = np.square(got - want).sum(), np.square(want).sum()
    assert noise <= power * 10 ** (-LEAST_DB / 10)
    second = QNNPACK.second_runner(artifact, net.prepared.canonical).run_all([sample])
    assert not hasattr(second, "severity"), second
    (apart,) = second.outputs[0].values()
    # Desktops and phones quantize the floats of ties otherwise.
    assert np.square(got - apart).sum() <= power * 10 ** (-LEAST_DB / 10)


def test_everything_between_two_kernels_is_integers() -> None:
    """One conversion in, one out: nothing in `moved`, `pooled` and `functions` leaves the integers."""
    for network in (moved, pooled, functions):
        net = made(network)
        inner = [n for n in net.plan.nodes.values() if n.op != "Concat"]  # the end of `moved`, which floats follow
        assert {n.kernel for n in inner} == {"int8"}, [n for n in inner if n.kernel != "int8"]
