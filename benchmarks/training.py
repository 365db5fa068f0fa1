"""Short, seeded training: enough for the weights and activations of a network that has learnt something."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from images import labelled_images
from torch import nn

_POOL = 3072
_BATCH = 32
_ESTIMATION = 96


@dataclass(frozen=True)
class Phase:
    """A stretch of training: image size in pixels, number of steps, peak learning rate."""

    size: int
    steps: int
    rate: float


def initialize(network: nn.Module) -> None:
    """Kaiming weights and zero biases, so that activations keep their size through the layers."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def train(network: nn.Module, phases: tuple[Phase, ...], seed: int) -> None:
    """AdamW with a one-cycle rate and flips, on images that no benchmark measures with."""
    for number, phase in enumerate(phases):
        images, labels = (torch.from_numpy(a) for a in labelled_images(_POOL, phase.size, seed + number))
        order = np.random.default_rng(seed)
        optimizer = torch.optim.AdamW(network.parameters(), phase.rate, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, phase.rate, total_steps=phase.steps, pct_start=0.2)
        network.train()
        for _ in range(phase.steps):
            chosen = torch.from_numpy(order.choice(_POOL, _BATCH, replace=False))
            batch = images[chosen]
            if order.integers(2):
                batch = batch.flip(3)
            loss = nn.functional.cross_entropy(network(batch), labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()


def estimate_statistics(network: nn.Module, size: int, seed: int) -> None:
    """Sets every BatchNorm's running statistics to the mean over images of the size that the model is used at."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a cumulative mean instead of a moving one
    images, _ = labelled_images(_ESTIMATION, size, seed)
    network.train()
    with torch.no_grad():
        for first in range(0, _ESTIMATION, _BATCH // 2):
            network(torch.from_numpy(images[first : first + _BATCH // 2]))
    network.eval()
