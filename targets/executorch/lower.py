"""A canonical graph in this target's forms as a torch module that ExecuTorch exports."""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import fx

from edgeport.findings import Finding
from edgeport.targets.executorch import ops
from edgeport.targets.executorch.registry import OWN, VIEW
from edgeport.targets.lowering import refusal
from edgeport.torch_view.view import check as view_check
from edgeport.torch_view.view import torch_view

assert ops  # imported for its registrations
_DEQUANTIZE = (
    torch.ops.quantized_decomposed.dequantize_per_tensor.default,
    torch.ops.quantized_decomposed.dequantize_per_channel.default,
)
_QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default
_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)


def lower_graph(model: ir.Model) -> fx.GraphModule:
    """The module of a graph.

    Raises:
        ModelError: something cannot be lowered; `findings` lists every such node.
    """
    findings = objections(model)
    if findings:
        raise refusal("ExecuTorch", findings)
    module = torch_view(model, VIEW | OWN)
    _no_aliases(module.graph)
    _zeros_in_integers(module.graph)
    _one_reader_each(module.graph)
    module.graph.eliminate_dead_code()
    _no_spare_constants(module)
    module.recompile()
    return module.eval().requires_grad_(False)


def objections(model: ir.Model) -> list[Finding]:
    """Every node that cannot be lowered."""
    return view_check(model, VIEW | OWN)


def _no_aliases(graph: fx.Graph) -> None:
    """Removes second names of tensors, for which the runtime would copy them; outputs keep theirs."""
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target is torch.ops.aten.alias:
            readers = [user for user in node.users if user.op != "output"]
            node.replace_all_uses_with(node.args[0], delete_user_cb=lambda user, kept=readers: user in kept)


def _no_spare_constants(module: fx.GraphModule) -> None:
    """Drops what nothing reads any more: the exporter would write it into the file."""
    read = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for table in (module._parameters, module._buffers):
        for name in [name for name in table if name not in read]:
            delattr(module, name)


def _zeros_in_integers(graph: fx.Graph) -> None:
    """Rounds integers that were padded with zeros for a float operator: nothing changes, and XNNPACK pads integers.

        q --> dequantize --> pad --> y    ==>    q --> dequantize --> pad --> quantize --> dequantize --> y

    It takes the first two for one kernel whose result is integers, too; of convolutions its passes know that.
    """
    for node in list(graph.nodes):
        if node.target is not torch.constant_pad_nd or node.args[2] != 0:
            continue
        source = node.args[0]
        if source.target is not _DEQUANTIZE[0] or any(user.target in _CONVOLUTIONS for user in node.users):
            continue
        with graph.inserting_after(node):
            stored = graph.call_function(_QUANTIZE, (node, *source.args[1:]))
        with graph.inserting_after(stored):
            made = graph.call_function(_DEQUANTIZE[0], (stored, *source.args[1:]))
        node.replace_all_uses_with(made, delete_user_cb=lambda user, own=stored: user is not own)


def _one_reader_each(graph: fx.Graph) -> None:
    """Gives every reader a dequantization of its own: the partitioner takes it into the reader's kernel."""
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in _DEQUANTIZE:
            continue
        for user in list(node.users)[1:]:
            with graph.inserting_before(user):
                copy = graph.node_copy(node)
            user.replace_input_with(node, copy)
