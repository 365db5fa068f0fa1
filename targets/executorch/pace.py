"""Half of the exporter's time, spared: what it computes again and again, or looks for where it cannot be.

- XNNPACK's passes export two models of their own to look for parts that a torch program may have been decomposed into
  (bilinear resizing, scaled dot-product attention). Modules of the torch view have none: they call the resizing itself,
  and spell attention out in another way.
- A program is decomposed three times, each time traced anew as a whole, also where nothing of the table is left in it.
- Every decomposition collects all operators that have one, which takes as long as a small model.
- It overrides the kernels of all of these, thousands of times, with a function whose annotations are evaluated anew.
- Every copy of a node copies the history of all its copies, which are not changed any more.
- XNNPACK's passes run over every part, each of which runs a tensor without data through all of it, although most of
  them change an operator that is not there.
- Python code is written and compiled for every graph in between, and never run: it is when it is.

These are internals of the pinned versions; what is not there any more is left alone.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock


@contextlib.contextmanager
def spared() -> Iterator[None]:
    """Spares it for as long as the context lasts."""
    import torch._export.utils
    import torch._ops
    import torch.fx.traceback
    from executorch.backends.xnnpack import _passes
    from executorch.backends.xnnpack.partition.graphs import bilinear_2d, sdpa
    from torch.export import ExportedProgram

    with contextlib.ExitStack() as stack:
        for owner, name, instead in (
            (bilinear_2d, "get_graphs_dict", dict),
            (sdpa, "get_graphs", list),
            (torch._export.utils, _COLLECT, _known_collection()),
            (torch._ops, "Callable", _Unannotated),
            (torch.fx.traceback, "copy", SimpleNamespace(deepcopy=list, copy=copy.copy)),
            (_passes, "_transform", _where_needed(getattr(_passes, "_transform", None))),
            (ExportedProgram, "run_decompositions", _where_left(ExportedProgram.run_decompositions)),
            (torch.fx.GraphModule, "recompile", _when_called(torch.fx.GraphModule.recompile)),
            (torch.fx.GraphModule, "code", property(_code)),
        ):
            if hasattr(owner, name):
                stack.enter_context(mock.patch.object(owner, name, instead))
        yield


class _AnyCallable(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return callable(instance)


class _Unannotated(metaclass=_AnyCallable):
    """Stands for `Callable`."""

    def __class_getitem__(cls, parameters: object) -> None:
        """Nothing is made of the parameters."""


_COLLECT = "_collect_all_valid_cia_ops_for_namespace"


@functools.cache
def _known_collection() -> Any:
    """torch's collection of the operators of one namespace that are made of others, each once."""
    import torch._export.utils

    collect = getattr(torch._export.utils, _COLLECT, None)
    return None if collect is None else functools.cache(collect)


_CHANGES: dict[str, tuple[str, ...]] = {
    "XNNPACKRemoveCloneOpsTransform": ("clone",),
    "DimOrderOpsRevertPass": ("dim_order",),
    "ConvertToUpsampleBilinear2d": (),
    "ConvertToLinearPass": ("mm.",),
    "ConvertToSDPAPass": (),
    "FuseBatchNormPass": ("batch_norm",),
    "DecomposeBatchNorm": ("batch_norm",),
    "FuseActivationPass": ("relu", "hardtanh"),
    "DecomposeConcatenate": ("cat.",),
    "RemoveGetItemPass": ("max_pool2d", "max.dim"),
    "InsertPadQDQPass": ("pad",),
    "Conv1dUnsqueezePass": ("convolution",),
    "PReLUReshapePass": ("prelu",),
    "ChannelsLastTaggedReshapePass": ("convolution", "upsample", "mean", "max", "pool", "prelu"),
    "RemoveRedundantCopyPass": ("_to_copy",),
}
"""Of passes what the names of operators that they change or stand in front of hold; others always run."""


def _where_needed(transform: Any) -> Callable[..., Any]:
    """`_transform` of XNNPACK's passes, without those that find nothing to change."""

    def run(program: Any, *passes: Any, **options: Any) -> Any:
        names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
        words = [_CHANGES.get(type(each).__name__, ("",)) for each in passes]
        if not any(word in name for each in words for word in each for name in names):
            return program
        return transform(program, *passes, **options)

    return run


def _where_left(decompose: Callable[..., Any]) -> Callable[..., Any]:
    """`ExportedProgram.run_decompositions`, without those that find nothing; an empty table asks for functions only."""

    def run(program: Any, table: Any = None, *others: Any, **options: Any) -> Any:
        graphs = (module.graph for module in program.graph_module.modules() if hasattr(module, "graph"))
        if table and not any(node.target in table for graph in graphs for node in graph.nodes):
            return program
        return decompose(program, table, *others, **options)

    return run


def _when_called(recompile: Callable[[Any], Any]) -> Callable[[Any], None]:
    """`GraphModule.recompile`, put off until the module is called."""
    from torch.fx.graph import _PyTreeCodeGen

    def forward(module: Any, *inputs: Any, **named: Any) -> Any:
        recompile(module)
        return module(*inputs, **named)

    def put_off(module: Any) -> None:
        codegen = module._graph._codegen
        if isinstance(codegen, _PyTreeCodeGen):
            module._in_spec, module._out_spec = codegen.pytree_info.in_spec, codegen.pytree_info.out_spec
        module._code = ""  # printed in messages that are thrown away
        type(module).forward = forward

    return put_off


def _code(module: Any) -> str:
    return str(module.graph.python_code(root_module="self").src)
