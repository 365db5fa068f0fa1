"""Runs a torch view under canonical names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import fx

from edgeport.errors import ModelError, UsageError
from edgeport.sample import Array, InputSpec, Sample
from edgeport.targets.values import dtype_of
from edgeport.torch_view.context import NAME
from edgeport.validate.runner import Verdict


@dataclass
class TorchViewRunner:
    """A `Runner` over a view.

    Args:
        view: the module.
        graph: the canonical graph that it was made from; gives names, shapes and dtypes.
    """

    view: fx.GraphModule
    graph: ir.Model

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The graph's inputs."""
        return tuple(_spec(v) for v in self.graph.graph.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The graph's output names."""
        return tuple(v.name or "" for v in self.graph.graph.outputs)

    @property
    def verdict(self) -> Verdict:
        """torch itself runs it."""
        return "measured"

    def run(self, sample: Sample) -> dict[str, Array]:
        """Runs one sample (batch axis included) and returns every output by name.

        Raises:
            UsageError: the sample does not fit the graph's inputs.
            ModelError: torch does not compute it.
        """
        feeds = self._feeds(sample)
        try:
            with torch.no_grad():
                results = self.view.forward(*feeds)  # calling the module prints a traceback before it raises
        except (RuntimeError, IndexError) as error:
            raise ModelError(f"torch does not run the model: {error}") from error
        return {name: tensor.detach().numpy() for name, tensor in zip(self.outputs, results, strict=True)}

    def intermediates(self, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
        """Internal tensors by canonical name.

        Raises:
            UsageError: the sample does not fit the graph's inputs.
            ModelError: torch does not compute it.
        """
        watch = _Watch(self.view, frozenset(names))
        try:
            with torch.no_grad():
                watch.run(*self._feeds(sample))
        except (RuntimeError, IndexError) as error:
            raise ModelError(f"torch does not run the model: {error}") from error
        types = {v.name: dtype_of(v) for node in self.graph.graph for v in node.outputs if v.name and v.dtype}
        return {name: array.astype(types.get(name, array.dtype), copy=False) for name, array in watch.seen.items()}

    def _feeds(self, sample: Sample) -> list[torch.Tensor]:
        specs = self.inputs
        if set(sample) != {s.name for s in specs}:
            raise UsageError(f"the sample has inputs {sorted(sample)}, the model takes {sorted(s.name for s in specs)}")
        feeds = []
        for spec in specs:
            array = np.asarray(sample[spec.name])
            fits = len(array.shape) == len(spec.shape) and all(
                isinstance(want, str) or want == got for want, got in zip(spec.shape, array.shape, strict=True)
            )
            if not fits:
                raise UsageError(f"input {spec.name!r} has shape {array.shape}, the model takes {spec}")
            feeds.append(torch.from_numpy(np.array(array, spec.dtype, order="C")))
        return feeds


class _Watch(fx.Interpreter):
    """Keeps the values that carry certain names."""

    def __init__(self, view: fx.GraphModule, names: Collection[str]) -> None:
        super().__init__(view)
        self._names = names
        self.seen: dict[str, Array] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Runs one node; its value is copied, as later ones may free or share it."""
        result = super().run_node(n)
        name = str(n.meta.get(NAME, ""))
        if name in self._names:
            self.seen[name] = result.detach().numpy().copy()
        return result


def _spec(value: ir.Value) -> InputSpec:
    dims = () if value.shape is None else tuple(value.shape)
    return InputSpec(value.name or "", dtype_of(value), tuple(d if isinstance(d, int) else str(d) for d in dims))
