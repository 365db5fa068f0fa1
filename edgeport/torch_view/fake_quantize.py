"""A quantized graph as a torch module that can be trained: quantization aware training of the weights.

What is rounded in the quantized graph is rounded here, to the same numbers; gradients pass rounding as if it were not
there and stop where a number is clipped (straight-through estimator: Bengio et al. 2013, arXiv:1308.3432; with the
clipping, as in Jacob et al. 2018, arXiv:1712.05877, section 3):

    activation --> div(scale) --> clamp --> round --> mul(scale) --> y
    weight     --> div(scale) --> clamp --> round --> mul(scale) --> y     weight: a parameter, in float
                     scale = plan's scale * max|weight| now / max|weight| of the plan

so that the scale of a channel (or of a block) follows its weights as planning anew does. Ranges of activations stay
those of the plan.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, fx

from edgeport.errors import ModelError
from edgeport.passes.edit import get_int
from edgeport.passes.infer_shapes import infer_shapes
from edgeport.quantize.plan import Plan, TensorPlan
from edgeport.quantize.qdq import ORIGIN, write_qdq
from edgeport.quantize.scheme import Scheme
from edgeport.sample import Array
from edgeport.targets.lowering import Lowering, registrar
from edgeport.torch_view import ops
from edgeport.torch_view.context import NAME, Context, node_of
from edgeport.torch_view.dtypes import to
from edgeport.torch_view.ops.quantization import parameter
from edgeport.torch_view.registry import LOWERINGS, Refused
from edgeport.torch_view.view import torch_view

assert ops  # imported for its registrations

_ROUNDED = "edgeport.rounded"
"""Key of a node's `meta` under which the name of the weight stands that it gives rounded."""
_DTYPES = {"activation": ("int8",), "weight": ("int8", "int4")}
_LEAST_GROWTH = 2.0**-20
"""Of a channel's largest weight: one whose weights have all become 0 keeps a scale."""

_OVERRIDES: dict[str, Lowering[Context]] = {}
_lowers = registrar(_OVERRIDES)


def fake_quantized_view(model: ir.Model, plan: Plan, scheme: Scheme) -> fx.GraphModule:
    """The module that computes what the quantized graph computes, and gives its weights gradients.

    Parameters are the float constants of the canonical graph, under the same rules as those of `torch_view`;
    `trained_graph` takes them back. Operators `Round` of the model let gradients pass, too.

    Args:
        model: a canonical graph, float32; not changed.
        plan: how it is quantized, without bias shifts: training learns what they correct.
        scheme: what the plan was made under.

    Raises:
        ModelError: a node has no form in torch, or a weight is stored in a way that has no gradient.
    """
    if plan.shifts:
        raise ValueError("the plan shifts biases; make it without moments")
    for entry in plan.tensors.values():
        _check(entry)
    return torch_view(_quantized(model, plan, scheme), {**LOWERINGS, **_OVERRIDES})


def simulating_view(model: ir.Model, plan: Plan, scheme: Scheme) -> fx.GraphModule:
    """The module that computes what the quantized graph computes, with its constants; the arguments are the same.

    Raises:
        ModelError: a node has no form in torch.
    """
    return torch_view(_quantized(model, plan, scheme))


def _quantized(model: ir.Model, plan: Plan, scheme: Scheme) -> ir.Model:
    quantized = write_qdq(model, plan, scheme)
    infer_shapes(quantized)
    return quantized


def _check(entry: TensorPlan) -> None:
    """Refuses what `write_qdq` writes as numbers of its own, which would be trained in place of the graph's."""
    known = entry.qparams is not None and entry.qparams.dtype in _DTYPES[entry.role]
    blocks = entry.qparams is not None and entry.qparams.block is not None and entry.qparams.scale.ndim > 2
    if not known or blocks:
        raise ModelError(f"fine-tuning takes int8 activations, int8 and int4 weights; {entry.name!r} is {entry.reason}")


def trained_graph(model: ir.Model, view: fx.GraphModule) -> tuple[ir.Model, tuple[str, ...]]:
    """A canonical graph with the constants that a view of it was trained to, and the names of those that are new.

    What is rounded has its rounded value, so that planning the graph anew finds the very integers that were trained.

    Args:
        model: the graph that the view was made from; not changed.
        view: made by `fake_quantized_view`.
    """
    copy = model.clone()
    changed = [n for n, p in parameters_by_name(view).items() if not np.array_equal(_array(p), _constant(model, n))]
    for name, tensor in _constants(view).items():
        if name in changed:
            copy.graph.initializers[name].const_value = ir.tensor(_array(tensor), name=name)
    return copy, tuple(changed)


def _constants(view: fx.GraphModule) -> dict[str, Tensor]:
    """The graph's constants as the view reads them: weights rounded, all others as they are."""
    seen: dict[fx.Node, Tensor] = {}
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        for node in view.graph.nodes:
            if node.op == "get_attr":
                seen[node] = getattr(view, str(node.target))
                found.setdefault(str(node.meta.get(NAME, "")), seen[node])
            elif node.op == "call_function" and node.all_input_nodes and all(n in seen for n in node.all_input_nodes):
                args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: seen[n])
                seen[node] = node.target(*args, **kwargs)
                if _ROUNDED in node.meta:
                    found[node.meta[_ROUNDED]] = seen[node]
    return found


def _array(tensor: Tensor) -> Array:
    return np.array(tensor.detach().cpu().numpy())


def _constant(model: ir.Model, name: str) -> Array:
    value = model.graph.initializers[name].const_value
    assert value is not None
    return value.numpy()


def parameters_by_name(view: fx.GraphModule) -> dict[str, torch.nn.Parameter]:
    """The parameters of a view by the canonical names of the constants that they were made from."""
    found = {}
    for node in view.graph.nodes:
        if node.op == "get_attr" and NAME in node.meta:
            tensor = getattr(view, str(node.target))
            if isinstance(tensor, torch.nn.Parameter):
                found[str(node.meta[NAME])] = tensor
    return found


@_lowers("QuantizeLinear", inputs=3, attributes=("axis", "output_dtype", "saturate", "precision", "block_size"))
def _quantize(ctx: Context, node: ir.Node) -> None:
    """Leaves what it rounds to as a float, the zero point not added: `DequantizeLinear`, its only reader, takes it."""
    dtype, zero = node.outputs[0].dtype, ctx.constant_input(node, 2)
    if dtype is None or not dtype.is_integer() or zero is None or zero.size != 1:
        raise Refused("only activations with one scale have a gradient", "train at precision int8")
    centre = float(zero.reshape(-1)[0])
    steps = torch.div(ctx.read(node, 0), parameter(ctx, node, 1))
    ctx.values[node.outputs[0]] = _round(torch.clamp(steps, float(dtype.min) - centre, float(dtype.max) - centre))


@_lowers("DequantizeLinear", inputs=3, attributes=("axis", "block_size", "output_dtype"))
def _dequantize(ctx: Context, node: ir.Node) -> None:
    """Of an activation, or of a constant that is rounded anew whenever the view runs."""
    stored = node.inputs[0]
    assert stored is not None
    scale = parameter(ctx, node, 1)
    origin = stored.meta.get(ORIGIN)
    if origin is None:
        ctx.bind(node, torch.mul(ctx.values[stored], scale))
        return
    dtype, shape = stored.dtype, ctx.shape(stored)
    assert dtype is not None
    weight = ctx.tensor(origin)
    if dtype.bitwidth <= 8:
        scale = torch.mul(scale, _growth(ctx, node, weight))
        if get_int(node, "block_size", 0):  # scales of blocks have 8 significant bits
            scale = to(to(scale, torch.bfloat16), torch.float32)
    elif ctx.shape(origin) != shape:  # biases are stored flat
        weight = torch.reshape(weight, shape)
    steps = torch.clamp(torch.div(weight, scale), float(dtype.min), float(dtype.max))
    ctx.bind(node, torch.mul(_round(steps), scale))
    if dtype.bitwidth <= 8:
        node_of(ctx.values[node.outputs[0]]).meta[_ROUNDED] = origin.name


@_lowers("Round")
def _rounded(ctx: Context, node: ir.Node) -> None:
    """Where activations are quantized at run time, the graph rounds with it."""
    ctx.bind(node, _round(ctx.read(node, 0)))


def _round(x: Tensor) -> Tensor:
    """To the nearest integer, ties to even, with the gradient of x; x + (round(x) - x) is exact in floats."""
    return torch.add(x, torch.detach(torch.sub(torch.round(x), x)))


def _growth(ctx: Context, node: ir.Node, weight: Tensor) -> Tensor:
    """How far the largest magnitudes of what shares a scale are from those that were planned: 1 to begin with."""
    stored, scales = node.inputs[0], ctx.constant_input(node, 1)
    assert stored is not None
    planned = ctx.constant_of(stored.meta[ORIGIN])
    assert planned is not None
    assert scales is not None
    rank, block = planned.ndim, get_int(node, "block_size", 0)
    shape: tuple[int, ...] = planned.shape
    axis = get_int(node, "axis", 1) % rank
    if block:  # the weights of a block share a scale
        shape = (*shape[:axis], shape[axis] // block, block, *shape[axis + 1 :])
        shared: tuple[int, ...] = (axis + 1,)
    else:
        shared = tuple(a for a in range(rank) if a != axis or scales.size == 1)
    largest = np.abs(planned).reshape(shape).max(shared, keepdims=True)
    idle = np.asarray(largest == 0, np.float32)  # zeros have any scale, and stay without a quotient of zeros
    now = torch.amax(torch.reshape(torch.abs(torch.detach(weight)), shape), dim=shared, keepdim=True)
    growth = torch.div(torch.add(now, ctx.constant(idle)), ctx.constant(largest + idle))
    growth = torch.clamp(growth, min=_LEAST_GROWTH)
    return torch.reshape(torch.expand_copy(growth, shape), planned.shape) if block else growth
