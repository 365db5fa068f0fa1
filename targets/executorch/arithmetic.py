"""Q/DQ that XNNPACK does not take, written out in operators of the runtime.

    x --> quantize_per_tensor      ==>   x --> mul(1 / scale) --> round --> add(zero) --> clamp --> int8
    q --> dequantize_per_tensor    ==>   q --> float32 --> sub(zero) --> mul(scale)

Weights become the floats that they stand for. What would be rounded at run time, row by row, is not rounded.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the operators
from torch import fx

_Q = torch.ops.quantized_decomposed
_TENSOR, _CHANNEL, _GROUP = _Q.dequantize_per_tensor, _Q.dequantize_per_channel, _Q.dequantize_per_channel_group


def has_integers(module: fx.GraphModule) -> bool:
    """Whether there is anything to write out."""
    return any("quantized_decomposed" in str(node.target) for node in module.graph.nodes)


def spell_out(module: fx.GraphModule) -> None:
    """Leaves no operator of `quantized_decomposed` in the module; changes it in place."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.target is _TENSOR.tensor:  # of what was rounded at run time: see the module's docstring
            stored = node.args[0]
            node.replace_all_uses_with(stored.args[0])
    graph.eliminate_dead_code()
    for index, node in enumerate(list(graph.nodes)):
        with graph.inserting_before(node):
            if node.target is _Q.quantize_per_tensor.default:
                node.replace_all_uses_with(_quantized(graph, *node.args))
            elif node.target is _TENSOR.default:
                node.replace_all_uses_with(_dequantized(graph, *node.args))
            elif node.target in (_CHANNEL.default, _GROUP.default):
                name = f"restored_weights_{index}"
                module.register_buffer(name, _restored(module, node))
                node.replace_all_uses_with(graph.get_attr(name))
    graph.eliminate_dead_code()
    module.recompile()


def _quantized(
    graph: fx.Graph, x: fx.Node, scale: float, zero: int, low: int, high: int, dtype: torch.dtype
) -> fx.Node:
    steps = graph.call_function(torch.mul, (x, 1.0 / scale))
    total = graph.call_function(torch.add, (graph.call_function(torch.round, (steps,)), float(zero)))
    kept = graph.call_function(torch.clamp, (total, float(low), float(high)))
    return graph.call_function(torch.ops.aten.to, (kept, dtype))


def _dequantized(graph: fx.Graph, q: fx.Node, scale: float, zero: int, *_: Any) -> fx.Node:
    floats = graph.call_function(torch.ops.aten.to, (q, torch.float32))
    return graph.call_function(torch.mul, (graph.call_function(torch.sub, (floats, float(zero))), scale))


def _restored(module: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    held = [getattr(module, str(a.target)) if isinstance(a, fx.Node) else a for a in node.args]
    made: torch.Tensor = node.target(*held)  # type: ignore[operator]
    return made.detach()
