"""torch module -> ExecuTorch program, by way of torch.export and XNNPACK's partitioner."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from edgeport.targets.executorch.pace import spared
from edgeport.torch_view.context import NAME

_DELEGATE = "executorch_call_delegate"


class ExportError(Exception):
    """ExecuTorch's exporter does not take a module; the message says why, in one line."""


@dataclass(frozen=True)
class Program:
    """A program ready to be written.

    Attributes:
        data: the bytes of the .pte file.
        delegates: how many parts run in XNNPACK.
        kernels: operator of the runtime, e.g. `aten::native_layer_norm.out` -> the tensors that it computes, which
            XNNPACK does not.
    """

    data: bytes
    delegates: int
    kernels: Mapping[str, tuple[str, ...]]


def compile_program(module: fx.GraphModule, inputs: tuple[torch.Tensor, ...], delegate: bool = True) -> Program:
    """Exports a module.

    Args:
        module: a torch view.
        inputs: one tensor for each input, of the shape and dtype that it will have.
        delegate: whether XNNPACK computes what it can.

    Raises:
        ExportError: the exporter does not take it.
    """
    with _quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

        def lowered() -> Any:
            config = EdgeCompileConfig(_check_ir_validity=False)
            exported = torch.export.export(module, inputs, strict=False)
            partitioners = [XnnpackPartitioner()] if delegate else []
            edge = to_edge_transform_and_lower(exported, partitioner=partitioners, compile_config=config)
            return edge.to_executorch()

        try:
            try:
                with spared():
                    program = lowered()
            except Exception:  # the graph may be at fault, or what is spared, in another version
                program = lowered()
        except Exception as error:  # passes over a graph raise whatever they stumble over
            raise ExportError(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    names = _names(module.graph)
    delegates, kernels = 0, dict[str, list[str]]()
    for node in program.exported_program().graph.nodes:
        if str(node.target) == _DELEGATE:
            delegates += 1
        elif isinstance(node.target, torch._ops.OpOverload):
            kernels.setdefault(_called(node.target), []).append(_origin(node, names))
    return Program(bytes(program.buffer), delegates, {k: tuple(v) for k, v in sorted(kernels.items())})


def _names(graph: fx.Graph) -> dict[str, str]:
    """Of every node of the view the canonical tensor that it gives, or that is made of what it gives."""
    names: dict[str, str] = {}
    for node in reversed(graph.nodes):
        later = (names[user.name] for user in node.users if user.name in names)
        name = node.meta.get(NAME) or next(later, None)
        if name is not None:
            names[node.name] = str(name)
    return names


def _called(target: torch._ops.OpOverload) -> str:
    """An operator's name as the runtime registers it."""
    schema = target._schema
    return f"{schema.name}.{schema.overload_name}" if schema.overload_name else str(schema.name)


def _origin(node: fx.Node, names: Mapping[str, str]) -> str:
    """The canonical name of the tensor that a node helps to compute, as far as its history tells."""
    history = node.meta.get("from_node", [])
    found = node.name
    while history:
        found = names.get(history[-1].name, found)
        history = history[-1].from_node
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what torch and ExecuTorch say about themselves off the standard streams, and the root logger as it was."""
    root = logging.getLogger()
    level, handlers, disabled = root.level, list(root.handlers), root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.setLevel(level)
        root.handlers[:] = handlers
