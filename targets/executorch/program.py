"""torch module -> ExecuTorch program, by way of torch.export and XNNPACK's partitioner."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings

from collections.abc import Iterator
from dataclasses import dataclass, field


import torch
from torch import fx


@dataclass(frozen=True)
class Program:
    """A program ready to be written.

    Attributes:
        data: the bytes of the .pte file.
        delegates: how many parts run in XNNPACK.
        undelegated: operator -> the names of the tensors that ExecuTorch's own kernels compute.
    """

    data: bytes
    delegates: int
    undelegated: dict[str, tuple[str, ...]] = field(default_factory=dict)


def compile_program(module: fx.GraphModule, inputs: tuple[torch.Tensor, ...]) -> Program:
    """Exports a module.

    Args:
        module: functions of torch only.
        inputs: one tensor for each input, of the shape and dtype that it will have.
    """
    with _quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

        exported = torch.export.export(module, inputs, strict=False)
        edge = to_edge_transform_and_lower(
            exported,
            partitioner=[XnnpackPartitioner()],
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
        program = edge.to_executorch()
    delegates, undelegated = _counted(program.exported_program().graph)
    return Program(bytes(program.buffer), delegates, undelegated)


def _counted(graph: fx.Graph) -> tuple[int, dict[str, tuple[str, ...]]]:
    delegates, found = 0, dict[str, list[str]]()
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        name = str(node.target)
        if name == "executorch_call_delegate":
            delegates += 1
        elif isinstance(node.target, torch._ops.OpOverload) or "." in name and "<" not in name:
            found.setdefault(name.removesuffix(".out"), []).append(node.name)
    return delegates, {name: tuple(nodes) for name, nodes in sorted(found.items())}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what torch and ExecuTorch say about themselves off the standard streams, and the root logger as it was."""
    root = logging.getLogger()
    level, handlers, disabled = root.level, list(root.handlers), logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.setLevel(level)
        root.handlers[:] = handlers


