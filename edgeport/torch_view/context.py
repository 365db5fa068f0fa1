"""The lowering's working state: which tensor of the view stands for each ONNX value.

Handlers compute with `torch.fx.Proxy`s, which they know as `torch.Tensor`s: a torch function called on one is written
into the view instead of run. They call functions of `torch`, `torch.nn.functional` and `torch.ops.aten` only, no
operators or methods, so that whoever reads the view meets one kind of node.
"""

from __future__ import annotations

import builtins
import keyword
import re
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, fx
from torch.fx.proxy import GraphAppendingTracer

from edgeport.sample import Array
from edgeport.targets import values as known
from edgeport.torch_view import dtypes
from edgeport.torch_view.registry import Refused

_SPOKEN_FOR = ("self", "torch", "operator", "inf", "nan", "device", "NoneType", "pytree", "fx_pytree")
"""What the code that torch.fx writes calls things by, which an argument must not hide."""

NAME = "edgeport.name"
"""Key of a node's `meta` under which the canonical name of its value stands."""


@dataclass
class Context:
    """What handlers work with."""

    module: torch.nn.Module = field(default_factory=torch.nn.Module)
    graph: fx.Graph = field(default_factory=fx.Graph)
    values: dict[ir.Value, Tensor] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    shape = staticmethod(known.shape_of)
    dtype = staticmethod(known.dtype_of)
    constant_of = staticmethod(known.constant_of)
    constant_input = staticmethod(known.constant_input)
    constant_ints = staticmethod(known.constant_ints)

    def __post_init__(self) -> None:
        self._tracer = GraphAppendingTracer(self.graph)
        self._taken.update(dir(self.module), dir(builtins), _SPOKEN_FOR)

    def rank(self, value: ir.Value | None) -> int:
        """Number of axes; their sizes may be unknown.

        Raises:
            Refused: it is unknown.
        """
        if value is None or value.shape is None:
            name = "" if value is None else value.name
            raise Refused(f"the rank of {name!r} is not known", "fix the dimensions with --input", "dynamic-shape")
        return len(value.shape)

    def held(self, value: ir.Value) -> torch.dtype:
        """The dtype in which the view holds a value."""
        return dtypes.inner(self.dtype(value))

    def input_dtype(self, node: ir.Node, index: int = 0) -> str:
        """numpy name of an input's dtype."""
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is None:
            raise Refused(f"input {index} is missing")
        return self.dtype(value)

    def has(self, node: ir.Node, index: int) -> bool:
        """Whether an input is given."""
        return index < len(node.inputs) and node.inputs[index] is not None

    def wanted(self, node: ir.Node, index: int) -> bool:
        """Whether an output is read."""
        return index < len(node.outputs) and bool(node.outputs[index].uses() or node.outputs[index].is_graph_output())

    def read(self, node: ir.Node, index: int, trained: bool = True) -> Tensor:
        """An input that must be there; `trained` says whether it would be a weight if it is a constant."""
        tensor = self.optional(node, index, trained)
        if tensor is None:
            raise Refused(f"input {index} is missing")
        return tensor

    def optional(self, node: ir.Node, index: int, trained: bool = True) -> Tensor | None:
        """An input, None if it is absent."""
        value = node.inputs[index] if index < len(node.inputs) else None
        return None if value is None else self.tensor(value, trained)

    def tensor(self, value: ir.Value, trained: bool = True) -> Tensor:
        """What stands for an ONNX value; a constant becomes a parameter or buffer when it is first read."""
        if value not in self.values:
            data = self.constant_of(value)
            assert data is not None, f"{value.name} is read before it is written"
            dtypes.outer(data.dtype.name)
            made = self._stored(data, value.name or "constant", trained and _is_weight(data))
            node_of(made).meta[NAME] = value.name
            self.values[value] = made
        return self.values[value]

    def constant(self, data: Array, hint: str = "constant") -> Tensor:
        """A buffer that a handler needs beside the graph's own constants."""
        return self._stored(data, hint, trained=False)

    def attribute(self, value: object, hint: str) -> Tensor:
        """Something else that the module is to hold, e.g. packed weights."""
        name = self._unique(hint)
        setattr(self.module, name, value)
        return self._proxy(self.graph.get_attr(name))

    def placeholder(self, value: ir.Value) -> None:
        """Makes an input of the view for one of the graph's."""
        dtypes.outer(self.dtype(value))  # refuses what torch lacks
        node = self.graph.placeholder(self._unique(value.name or "input"))
        node.meta[NAME] = value.name
        self.values[value] = self._proxy(node)

    def hold(self, value: ir.Value) -> None:
        """Converts an input to the dtype in which the view holds it; after all placeholders, which stand first."""
        if self.held(value) != dtypes.outer(self.dtype(value)):
            self.values[value] = torch.ops.aten.to(self.values[value], self.held(value))

    def returned(self, value: ir.Value) -> fx.Node:
        """What the view gives for an output of the graph."""
        tensor, outer = self.tensor(value, trained=False), dtypes.outer(self.dtype(value))
        return node_of(tensor if self.held(value) == outer else torch.ops.aten.to(tensor, outer))

    def bind(self, node: ir.Node, *results: Tensor | None) -> None:
        """Lets tensors of the view stand for the node's outputs; None where an output is not wanted."""
        for value, result in zip(node.outputs, results, strict=False):
            if result is None:
                continue
            # A tensor has one name: what is passed on unchanged gets a second one by an alias.
            made = node_of(result)
            named = NAME in made.meta or made.op in ("placeholder", "get_attr")
            tensor = torch.ops.aten.alias(result) if named else result
            node_of(tensor).meta[NAME] = value.name
            self.values[value] = tensor

    def stand_in(self, value: ir.Value) -> None:
        """Something for the nodes that read a refused one; the view is never built."""
        self.values[value] = self._proxy(self.graph.call_function(torch.empty, ((0,),)))

    def _stored(self, data: Array, hint: str, trained: bool) -> Tensor:
        name = self._unique(hint)
        tensor = torch.from_numpy(np.array(data, order="C"))  # a copy: the graph's arrays may be read-only
        tensor = tensor.to(dtypes.inner(data.dtype.name))
        if trained:
            self.module.register_parameter(name, torch.nn.Parameter(tensor))
        else:
            self.module.register_buffer(name, tensor)
        return self._proxy(self.graph.get_attr(name))

    def _proxy(self, node: fx.Node) -> Tensor:
        return cast(Tensor, fx.Proxy(node, self._tracer))

    def _unique(self, name: str) -> str:
        """An identifier made from a name, each only once."""
        base = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or "value"
        base = f"v_{base}" if base[0].isdigit() or keyword.iskeyword(base) else base
        unique, count = base, 0
        while unique in self._taken:
            count += 1
            unique = f"{base}_{count}"
        self._taken.add(unique)
        return unique


def node_of(tensor: Tensor) -> fx.Node:
    """The node of the view that gives a tensor."""
    return cast(fx.Proxy, tensor).node


def _is_weight(data: Array) -> bool:
    """Single numbers (scales, limits, epsilons) and masks with infinities are part of the architecture."""
    return data.dtype.kind == "f" and data.size > 1 and bool(np.isfinite(data).all())
