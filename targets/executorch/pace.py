"""Half of the exporter's time, spared: what it computes again and again, or looks for where it cannot be.

- XNNPACK's passes export two models of their own to look for parts that a torch program may have been decomposed into
  (bilinear resizing, scaled dot-product attention). Modules of the torch view have none: they call the resizing itself,
  and spell attention out in another way.
- Every decomposition collects all operators that have one, which takes as long as a small model.
- It overrides the kernels of all of these, thousands of times, with a function whose annotations are evaluated anew.
- Every copy of a node copies the history of all its copies, which are not changed any more.

These are internals of the pinned versions; what is not there any more is left alone.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock


@contextlib.contextmanager
def spared() -> Iterator[None]:
    """Spares it for as long as the context lasts."""
    import torch._export.utils
    import torch._ops
    import torch.fx.traceback
    from executorch.backends.xnnpack.partition.graphs import bilinear_2d, sdpa

    with contextlib.ExitStack() as stack:
        for owner, name, instead in (
            (bilinear_2d, "get_graphs_dict", dict),
            (sdpa, "get_graphs", list),
            (torch._export.utils, _COLLECT, _known_collection()),
            (torch._ops, "Callable", _Unannotated),
            (torch.fx.traceback, "copy", SimpleNamespace(deepcopy=list, copy=copy.copy)),
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
