"""The plan: for every tensor a dtype, scale and zero point (or float), for every node a kernel, each with the reason.

Values are keyed by their name in the canonical graph. Biases have no entry: their scale follows from the
kernel's input and weight (`bias_qparams`), because one bias may serve several kernels with different inputs.

How a constant is stored is `plan.compression(value_name)`: a `QParams` (integers with scales), a `Palette` (indices
into tables), a `Sparse` (nonzero values under a mask), or None (as it is, or as float16 where its node's kernel is
`fp16-weights`). `plan.precision_of(node_name)` is the precision that was asked for a node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgeport.description import Description, ImageInput
from edgeport.quantize.compression import Palette, Sparse
from edgeport.sample import Array

Kernel = Literal[
    "float32",
    "int8",
    "int16x8",
    "fp8",
    "int8-dynamic",
    "int4-dynamic",
    "int8-weights",
    "int4-weights",
    "fp16-weights",
    "palettized",
    "sparse",
]
"""How a node runs: in float; in integers (activations of 8 or 16 bits) or in floats of 8 bits; in integers with
activations quantized at run time; or in float on weights that are stored as int8, int4, fp16, indices into a palette,
or without their zeros."""
INTEGERS: tuple[Kernel, ...] = ("int8", "int16x8", "fp8")
"""Kernels whose activations are integers, or floats of 8 bits, with parameters of the plan."""

InputLayout = Literal["source", "nhwc"]
ShapesAs = Literal["functions", "enumerated", "ranged"]
IoDtype = Literal["source", "int8", "uint8", "int16", "float16"]

_LIMITS = {
    "int4": (-8, 7),
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**62), 2**62),
    "float8e4m3fn": (-448, 448),
}


@dataclass(frozen=True, eq=False)
class QParams:
    """Affine quantization parameters: real = scale * (q - zero_point).

    Attributes:
        dtype: `int4`, `int8`, `uint8`, `int16`, `int32` or `int64`; or `float8e4m3fn` (Micikevicius et al. 2022,
            arXiv:2209.05433), whose numbers take the place of integers and whose zero point is 0.
        scale: float32, shape () per tensor, (channels,) per channel, or with blocks that of the tensor with `axis`
            divided by `block`, and 1 where an axis beside it shares the scale.
        zero_point: int32, same shape as `scale`.
        axis: channel axis of the ONNX tensor, None per tensor; with blocks the axis that is cut into them.
        narrow: int8 weights leave -128 out, so that the range is symmetric.
        block: how many elements along `axis` share a scale; None without blocks.
    """

    dtype: Literal["int4", "int8", "uint8", "int16", "int32", "int64", "float8e4m3fn"]
    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int32]
    axis: int | None = None
    narrow: bool = False
    block: int | None = None

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest stored number."""
        low, high = _LIMITS[self.dtype]
        return (low + 1 if self.narrow else low), high

    def _along_axis(self, values: Array, rank: int) -> Array:
        if self.axis is None:
            return values
        if self.block is not None:
            return np.repeat(values, self.block, axis=self.axis)
        return values.reshape([-1 if i == self.axis % rank else 1 for i in range(rank)])

    def quantize(self, x: Array) -> Array:
        """Rounds half to even and saturates, as ONNX QuantizeLinear does (x/scale in float32).

        int4 comes as int8 with values in [-8, 7], float8e4m3fn as ml_dtypes' type of it.
        """
        scale, zero = self._along_axis(self.scale, x.ndim), self._along_axis(self.zero_point, x.ndim)
        low, high = self.limits
        if self.dtype == "float8e4m3fn":
            import ml_dtypes

            return np.clip(x / scale, low, high).astype(ml_dtypes.float8_e4m3fn)
        ratio = x.astype(np.float64) / scale if self.dtype in ("int32", "int64") else x / scale
        stored: Array = np.clip(np.rint(ratio) + zero, low, high).astype("int8" if self.dtype == "int4" else self.dtype)
        return stored

    def dequantize(self, q: Array) -> npt.NDArray[np.float32]:
        """The real values that stored integers stand for."""
        scale, zero = self._along_axis(self.scale, q.ndim), self._along_axis(self.zero_point, q.ndim)
        if self.dtype == "float8e4m3fn":
            return np.asarray(q.astype(np.float32) * scale, np.float32)
        real: npt.NDArray[np.float32] = ((q.astype(np.int64) - zero) * scale).astype(np.float32)
        return real

    def restored(self, x: Array) -> npt.NDArray[np.float32]:
        """What a kernel reads of `x` after it was stored so."""
        return self.dequantize(self.quantize(x))


Compression = QParams | Palette | Sparse
"""How a constant is stored; `restored` gives what a kernel reads of it."""


def bias_qparams(x: QParams, weight: QParams) -> QParams:
    """Bias parameters of a kernel: scale = input scale * weight scale, zero point 0, one a channel.

    int32, for int16 activations int64.
    """
    scale = np.atleast_1d(x.scale.astype(np.float32) * weight.scale)
    dtype: Literal["int32", "int64"] = "int64" if x.dtype == "int16" else "int32"
    return QParams(dtype, scale.astype(np.float32), np.zeros(scale.shape, np.int32), 0 if scale.size > 1 else None)


@dataclass(frozen=True)
class TensorPlan:
    """What happens to one tensor. `qparams` is None where it does not become integers with scales; `stored` is set
    where it is compressed in another way."""

    name: str
    role: Literal["activation", "weight"]
    qparams: QParams | None
    reason: str
    stored: Palette | Sparse | None = None


@dataclass(frozen=True)
class NodePlan:
    """How one node runs, and why. Nodes that run inside another's kernel carry the same kernel."""

    name: str
    op: str
    kernel: Kernel
    reason: str


@dataclass(frozen=True)
class Plan:
    """The whole decision for one target and precision.

    An edge (value -> node) carries integers when the node's kernel is `int8` and `tensors[value].qparams` is
    set. A value made by an `int8` node exists only as integers: float consumers read its dequantized form. A
    value made by a float node stays float for its float consumers.

    `input_layout` says in which order the artifact takes its four-dimensional inputs: as the source does, or `nhwc`,
    the order of camera buffers. `io_dtype` other than `source` makes it take and give integers where its kernels do,
    or float16 where the source has float32; with `image_input` it takes pixels where images are described. The inputs
    in `states` (`--state`) are what the artifact keeps between runs, each the output of that name in the run before.
    `description` is what the artifact says about itself, `device` the facts of the device's profile (empty without
    one). `shifts` are taken off the biases of the kernels with these anchors (see `rounding_shift`). `layers` holds
    the precision of the nodes for which another than `precision` was asked. `ranges` are those of all float tensors of
    the form that the scheme wants to be observed, None for one that was NaN or infinite. With `build_engine` the
    artifact is an engine for the GPU of this machine. `scheme` is what `--scheme` says.
    """

    precision: str
    tensors: Mapping[str, TensorPlan] = field(default_factory=dict)
    nodes: Mapping[str, NodePlan] = field(default_factory=dict)
    input_layout: InputLayout = "source"
    io_dtype: IoDtype = "source"
    description: Description = field(default_factory=Description)
    shifts: Mapping[str, Array] = field(default_factory=dict)
    layers: Mapping[str, str] = field(default_factory=dict)
    device: Mapping[str, Any] = field(default_factory=dict)
    image_input: bool = False
    states: Mapping[str, str] = field(default_factory=dict)
    shapes_as: ShapesAs = "functions"
    ranges: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)
    build_engine: bool = False
    scheme: str = "default"

    @property
    def pixels(self) -> Mapping[str, ImageInput]:
        """The inputs that the artifact takes as pixels."""
        return self.description.images if self.image_input else {}

    def bias(self, node_name: str | None, array: Array) -> Array:
        """The bias, shape (channels,), that the kernel with this anchor adds where the graph has `array`."""
        shift = self.shifts.get(node_name or "")
        return array if shift is None else np.asarray(array - shift, np.float32)

    def kernel(self, node_name: str | None) -> Kernel:
        """The kernel of a node; a node without an entry runs in float."""
        entry = self.nodes.get(node_name or "")
        return entry.kernel if entry else "float32"

    def io_qparams(self, value: ir.Value) -> QParams | None:
        """Parameters of a graph input or output that the artifact takes or gives in integers, None where in float.

        An output that a float kernel makes stays float. As `uint8`, numbers are those of the kernels plus 128.
        """
        producer = value.producer()
        if self.io_dtype in ("source", "float16") or (
            producer is not None and self.kernel(producer.name) not in INTEGERS
        ):
            return None
        inner = self.qparams(value.name)
        if inner is None or self.io_dtype != "uint8":
            return inner
        return replace(inner, dtype="uint8", zero_point=inner.zero_point + 128)

    def qparams(self, value_name: str | None) -> QParams | None:
        """Quantization parameters of a value, None where it stays float."""
        entry = self.tensors.get(value_name or "")
        return entry.qparams if entry else None

    def compression(self, value_name: str | None) -> Compression | None:
        """How a constant is stored, None where as it is (or as float16, if its node's kernel is `fp16-weights`).

        A node that runs in `float32` reads the constant as it is, whatever other nodes read.
        """
        entry = self.tensors.get(value_name or "")
        if entry is None or entry.role != "weight":
            return None
        return entry.qparams if entry.stored is None else entry.stored

    @property
    def exact(self) -> bool:
        """Whether all of it is float32, as in the canonical graph."""
        return {self.precision, *self.layers.values()} == {"fp32"}

    def precision_of(self, node_name: str | None) -> str:
        """The precision that was asked for a node: its own, or that of the model."""
        return self.layers.get(node_name or "", self.precision)
