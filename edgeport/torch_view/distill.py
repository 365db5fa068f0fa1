"""Trains a fake-quantized module to give what the float model gives: no labels are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from edgeport.errors import UsageError
from edgeport.sample import Sample
from edgeport.torch_view.batches import BatchedView, joined
from edgeport.validate.runner import Runner

Loss = Callable[[list[Tensor], list[Tensor]], Tensor]
"""Outputs of the module and of the float model, in the graph's order -> one number."""


def distill(
    module: BatchedView,
    teacher: Runner,
    samples: Sequence[Sample],
    *,
    steps: int,
    learning_rate: float,
    batch: int,
    seed: int,
    loss: Loss | None = None,
) -> list[float]:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980), whose step falls linearly to 0; deterministic.

    Args:
        module: what is trained.
        teacher: the float model, run once on every sample.
        samples: without the batch axis of a training batch: each is one run of the graph.
        steps: how many batches.
        learning_rate: of the first step.
        batch: samples a batch, at most.
        seed: of the order of the samples.
        loss: without it the mean squared error of the floating-point outputs, each relative to its variance.

    Returns:
        The loss of every step.

    Raises:
        UsageError: no output is a floating-point number, or nothing can be trained.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise UsageError("no parameter can be trained: requires_grad is off for all of them")
    inputs = [torch.from_numpy(np.stack([s[spec.name] for s in samples])) for spec in teacher.inputs]
    runs = [list(teacher.run(sample).values()) for sample in samples]
    wanted = [torch.from_numpy(np.stack([run[i] for run in runs])) for i in range(len(runs[0]))]
    if loss is None:
        loss = _relative(wanted)
    optimizer = torch.optim.Adam(parameters, learning_rate)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(0)
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1 - step / steps)
        if len(order) < min(batch, len(samples)):
            order = torch.randperm(len(samples), generator=generator)
        picked, order = order[:batch], order[batch:]
        got = module.outputs([x[picked] for x in inputs], len(picked))
        value = loss(got, [joined(y[picked]) for y in wanted])
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(value.detach()))
    return losses


def _relative(wanted: Sequence[Tensor]) -> Loss:
    scored = [i for i, y in enumerate(wanted) if y.is_floating_point() and y.numel()]
    if not scored:
        raise UsageError("the model has no floating-point output to learn from; give a loss of your own")
    power = {i: max(float(wanted[i].var(correction=0)), 1e-12) for i in scored}

    def loss(got: list[Tensor], want: list[Tensor]) -> Tensor:
        terms = [torch.nn.functional.mse_loss(got[i], want[i]) / power[i] for i in scored]
        return torch.stack(terms).sum()

    return loss
