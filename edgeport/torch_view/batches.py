"""A view, made for the shape of one sample, as a module that is called as the source was, with batches of any size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from edgeport.torch_view.calls import CallForm


class BatchedView(torch.nn.Module):
    """Runs a view once for every sample of a batch: all at once (`torch.vmap`), or in turn where torch cannot do that.

    Args:
        view: takes the tensors of one sample and returns a tuple.
        form: how it is called.
    """

    def __init__(self, view: fx.GraphModule, form: CallForm) -> None:
        super().__init__()
        self.view = view
        self._form = form
        self._in_turn = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the source returns for these arguments, in its structure.

        Raises:
            CalibrationError: the arguments are not of the form and shape that the source was captured with.
        """
        tensors, count = self._form.tensors(args, kwargs, "the call")
        return self._form.returning(self.outputs(tensors, count))

    def outputs(self, tensors: list[Tensor], count: int | None) -> list[Tensor]:
        """The outputs for `CallForm.tensors`; those of several samples are joined along their first axis."""
        if count is None:
            return list(self.view.forward(*tensors))
        axes = tuple(0 if x.ndim > len(s.shape) else None for x, s in zip(tensors, self._form.inputs, strict=True))
        return [joined(y) for y in self._stacked(tensors, axes, count)]

    def _stacked(self, tensors: list[Tensor], axes: tuple[int | None, ...], count: int) -> list[Tensor]:
        """The outputs of all samples, each (count, *output)."""
        run = self.view.forward  # calling the module prints a traceback before it raises
        if not self._in_turn:
            try:
                return list(torch.vmap(run, in_dims=axes)(*tensors))
            except RuntimeError:  # recurrent operators have no rule for it; another fault comes up again below
                self._in_turn = True
        runs = [run(*(x if a is None else x[i] for x, a in zip(tensors, axes, strict=True))) for i in range(count)]
        return [torch.stack(outputs) for outputs in zip(*runs, strict=True)]


def joined(outputs: Tensor) -> Tensor:
    """An output of several samples, (count, *output), along the output's first axis; scalars stand in a row."""
    return outputs if outputs.ndim == 1 else outputs.flatten(0, 1)
