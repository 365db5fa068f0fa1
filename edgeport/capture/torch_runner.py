"""A torch module as a runner: the reference that the exported graph is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from edgeport.errors import CalibrationError
from edgeport.sample import Array, InputSpec, Sample
from edgeport.validate.onnx_runner import check_sample, one_line
from edgeport.validate.runner import Verdict


@dataclass(frozen=True)
class CallForm:
    """How named arrays become a call, and what it returns becomes named arrays.

    Attributes:
        spec: structure of (args, kwargs).
        leaves: its leaves in order; a `Slot` stands where an input goes, anything else is passed as it is.
    """

    spec: pytree.TreeSpec
    leaves: tuple[Any, ...]


@dataclass(frozen=True)
class Slot:
    """A leaf of the call that an input fills."""

    name: str


class TorchRunner:
    """Runs a module in eval mode without gradients; its outputs are flattened in order.

    Args:
        module: what to call. It is put back into the mode it was in after every run.
        form: how inputs become the call.
        inputs: names, dtypes and shapes, in the order of the graph's inputs.
        outputs: one name for every tensor that the call returns.
    """

    def __init__(
        self, module: Callable[..., Any], form: CallForm, inputs: Sequence[InputSpec], outputs: Sequence[str]
    ) -> None:
        self._module = module
        self._form = form
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The inputs, in the graph's order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """The output names, in the order of the tensors that the module returns."""
        return self._outputs

    @property
    def verdict(self) -> Verdict:
        """torch itself computes every figure."""
        return "measured"

    def run(self, sample: Sample) -> dict[str, Array]:
        """Runs one sample and returns every output by name.

        Raises:
            CalibrationError: the sample does not fit the inputs, or the module fails on its values.
        """
        check_sample(self._inputs, sample)
        # A copy: the module might write into its input, and torch wants native, writable memory.
        tensors = {spec.name: torch.from_numpy(np.array(sample[spec.name])) for spec in self._inputs}
        leaves = [tensors[leaf.name] if isinstance(leaf, Slot) else leaf for leaf in self._form.leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self._form.spec)
        try:
            with torch.no_grad(), evaluating(self._module):
                result = self._module(*args, **kwargs)
        except Exception as error:  # whatever a user's forward raises
            raise CalibrationError(f"the torch module cannot run this sample: {one_line(error)}") from error
        values = [v.detach().cpu().numpy() for v in tensor_leaves(result)]
        return dict(zip(self._outputs, values, strict=True))

    def intermediates(self, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
        """None: names of tensors inside the module are not those of the graph."""
        return {}


def tensor_leaves(result: Any) -> list[torch.Tensor]:
    """The tensors in what a module returned, in order; None and numbers are skipped."""
    return [v for v in pytree.tree_leaves(result) if isinstance(v, torch.Tensor)]


@contextmanager
def evaluating(module: Callable[..., Any]) -> Iterator[None]:
    """Eval mode for every submodule, each put back into its own mode at the end.

    Without the fused path of torch's encoder layers, which gives zeros for padding where training and exported programs
    give numbers, and fails on samples that are padding altogether.
    """
    modules = list(module.modules()) if isinstance(module, torch.nn.Module) else []
    training = [m for m in modules if m.training]
    fused = torch.backends.mha.get_fastpath_enabled()
    for m in training:
        m.training = False
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for m in training:
            m.training = True
