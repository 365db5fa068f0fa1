"""Where Q/DQ keep TensorRT from fusing layers.

Source: "Q/DQ Layer-Placement Recommendations" of NVIDIA's documentation, and its quantization toolkits for PyTorch
(quant_resnet50) and TensorFlow (add_custom_qdq_cases).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from edgeport.targets.tensorrt.rules.reading import WEIGHTED, Quantizer, Reading, constant, dims, label
from edgeport.targets.tensorrt.rules.registry import Broken, rule

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_FUSED = (
    "Relu",
    "Clip",
    "LeakyRelu",
    "PRelu",
    "Elu",
    "Selu",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Tanh",
    "Softplus",
)
"""Activations that become part of the layer in front of them."""
_NORM = "BatchNormalization"
_BIAS = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2}


@rule("trt-quantized-bias", "warning")
def quantized_bias(reading: Reading) -> Iterator[Broken]:
    """Biases stay float: kernels add them to 32-bit sums, so that int8 only loses accuracy.

        Conv(DQ(x), DQ(W), DQ(Q(b)))   should be   Conv(DQ(x), DQ(W), b)

    Measured: NVIDIA's parser builds it. A DQ of int32 is another rule's.
    """
    for node in reading.nodes:
        for value in _biases(node):
            found = reading.operand(value)
            if found is not None and found.weight and found.quantizer.stored != ir.DataType.INT32:
                message = f"the bias {label(found.source)} is quantized; TensorRT adds biases in float"
                hint = "keep biases in float (ONNX Runtime: extra_options={'QuantizeBias': False})"
                yield Broken(node, message, hint)


def _biases(node: ir.Node) -> Sequence[ir.Value | None]:
    """What a layer adds to its products, and what is added behind a MatMul."""
    if node.domain:
        return ()
    if node.op_type == "Add" and any(v is not None and _made_by(v, "MatMul") for v in node.inputs):
        return node.inputs
    place = _BIAS.get(node.op_type, len(node.inputs))
    return node.inputs[place : place + 1]


def _made_by(value: ir.Value, op_type: str) -> bool:
    node = value.producer()
    return node is not None and node.op_type == op_type


@rule("trt-before-activation", "warning")
def before_activation(reading: Reading) -> Iterator[Broken]:
    """Activation functions and batch normalizations stand in front of Q, not behind DQ.

        Conv -> Q -> DQ -> Relu -> ...   should be   Conv -> Relu -> Q -> DQ -> ...

    Between a layer and its activation Q/DQ keep them from becoming one kernel, and half of the integers are spent on
    what Relu drops.
    """
    for dq, q, producer in _activations(reading):
        follower = next(
            (n for n in dq.node.outputs[0].consumers() if n.op_type in (*_FUSED, _NORM) and not n.domain), None
        )
        if follower is not None and producer is not None and producer.op_type in (*WEIGHTED, "Add", _NORM):
            message = f"{label(q.data)} is quantized between {producer.op_type} and {follower.op_type}"
            yield Broken(q.node, f"{message}, which then cannot be one kernel", f"put Q/DQ behind {follower.op_type}")


@rule("trt-both-branches", "warning")
def both_branches(reading: Reading) -> Iterator[Broken]:
    """Of a residual Add only the branch that skips the layers is quantized.

        Add(DQ(Q(Conv(...))), DQ(Q(x)))   should be   Add(Conv(...), DQ(Q(x)))

    The convolution then adds the branch itself.
    """
    for node, inner, other in _residual(reading):
        if reading.made_by(other, quantizes=False) is not None:
            message = f"both operands of the Add that writes {label(node.outputs[0])} are quantized"
            hint = f"leave {label(inner.data)}, what the convolution gives, without Q/DQ"
            yield Broken(node, f"{message}; the convolution cannot be fused with it", hint)


@rule("trt-before-add", "warning")
def before_add(reading: Reading) -> Iterator[Broken]:
    """No Q/DQ between a layer and the Add that follows it, of a residual or of a bias: they would be one kernel.

    Where two convolutions are added, one of them is what the other adds, and its Q/DQ are right.
    """
    for dq, q, producer in _activations(reading):
        for node in dq.node.outputs[0].consumers():
            bias = node.op_type == "Add" and not node.domain and any(map(reading.is_constant, node.inputs))
            if bias and producer is not None and producer.op_type in WEIGHTED:
                message = f"{label(q.data)} is quantized between {producer.op_type} and its bias in Add {node.name!r}"
                yield Broken(q.node, f"{message}, which then cannot be one kernel", "put Q/DQ behind the Add")
    for node, inner, other in _residual(reading):
        if reading.made_by(other, quantizes=False) is None and _convolution(reading, other) is None:
            message = f"{label(inner.data)} is quantized between a convolution and Add {node.name!r}"
            hint = "move these Q/DQ to the other operand of the Add"
            yield Broken(inner.node, f"{message}, which then cannot be one kernel", hint)


@rule("trt-float-skip", "info")
def float_skip(reading: Reading) -> Iterator[Broken]:
    """The branch of a residual Add that skips the layers is quantized where integers are read behind it.

    Otherwise the convolution has to give floats, and Q is a kernel of its own.
    """
    for node in reading.nodes:
        if node.op_type != "Add" or node.domain or any(map(reading.operand, node.inputs)):
            continue
        convolved = [_convolution(reading, value) for value in node.inputs]
        skip = next((v for v, conv in zip(node.inputs, convolved, strict=True) if conv is None), node.inputs[1])
        same = len({dims(v) for v in node.inputs if v is not None}) == 1
        if (
            any(convolved)
            and same
            and skip is not None
            and not reading.is_constant(skip)
            and _read_as_integers(node, reading)
        ):
            message = f"{label(skip)} is added to a quantized convolution in float, so that its output stays float"
            yield Broken(node, message, f"put Q/DQ on {label(skip)} in front of the Add")


@rule("trt-quantized-output", "warning")
def quantized_output(reading: Reading) -> Iterator[Broken]:
    """Outputs of the model are not sent through Q/DQ: that only rounds them, in two more kernels."""
    for output in reading.graph.outputs:
        dq = reading.made_by(output, quantizes=False)
        q = None if dq is None else reading.made_by(dq.data, quantizes=True)
        if q is not None and not reading.is_constant(q.data):
            message = f"the output {label(output)} goes through Q/DQ, which only rounds it"
            yield Broken(q.node, message, f"let {label(q.data)} be the output")


@rule("trt-different-scales", "warning")
def different_scales(reading: Reading) -> Iterator[Broken]:
    """What several layers read is quantized once.

    With different scales for different readers the tensor is quantized, written and read more than once.
    """
    first: dict[ir.Value, Quantizer] = {}
    for q in reading.quantizers:
        if not q.quantizes or reading.is_constant(q.data):
            continue
        other = first.setdefault(q.data, q)
        if other is not q and not _same_scale(q, other):
            message = f"{label(q.data)} is quantized twice, with different scales"
            yield Broken(q.node, message, f"let its readers share the Q/DQ {other.node.name!r}")


def _same_scale(q: Quantizer, other: Quantizer) -> bool:
    one, two = constant(q.scale), constant(other.scale)
    return q.scale is other.scale or (one is not None and two is not None and bool((one == two).all()))


def _activations(reading: Reading) -> Iterator[tuple[Quantizer, Quantizer, ir.Node | None]]:
    """DQ and Q of every activation, and the node that writes it."""
    for dq in reading.quantizers:
        q = None if dq.quantizes else reading.made_by(dq.data, quantizes=True)
        if q is not None and not reading.is_constant(q.data):
            yield dq, q, q.data.producer()


def _residual(reading: Reading) -> Iterator[tuple[ir.Node, Quantizer, ir.Value | None]]:
    """Adds with Q/DQ behind a convolution: the Add, that Q, and the other operand."""
    for node in reading.nodes:
        if node.op_type != "Add" or node.domain or len(node.inputs) != 2:
            continue
        for place in (0, 1):
            dq = reading.made_by(node.inputs[place], quantizes=False)
            q = None if dq is None else reading.made_by(dq.data, quantizes=True)
            other = node.inputs[1 - place]
            if q is None or reading.is_constant(other):  # a bias
                continue
            if _convolution(reading, q.data) is not None and _only_reader(q):
                yield node, q, other
                break


def _only_reader(q: Quantizer) -> bool:
    """Whether only one Q reads the tensor, through one DQ with one reader: else it is the skip branch of this Add."""
    dqs = q.node.outputs[0].consumers()
    return len(q.data.consumers()) == 1 and len(dqs) == 1 and len(dqs[0].outputs[0].consumers()) == 1


def _convolution(reading: Reading, value: ir.Value | None) -> ir.Node | None:
    """The quantized convolution that writes a value for one reader alone."""
    node = None if value is None or len(value.consumers()) != 1 else value.producer()
    if node is not None and node.op_type == _NORM:
        return _convolution(reading, node.inputs[0])
    return node if node is not None and node.op_type in _CONVOLUTIONS and reading.operand(node.inputs[0]) else None


def _read_as_integers(node: ir.Node, reading: Reading) -> bool:
    """Whether what a node gives is quantized, behind an activation function where there is one."""
    readers = node.outputs[0].consumers()
    behind = [m for n in readers if n.op_type in _FUSED for m in n.outputs[0].consumers()]
    return any(reading.is_quantizer(n) for n in (*readers, *behind))
