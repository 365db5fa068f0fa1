"""The benchmark networks rebuilt in torch from their weights, for converters that start from torch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

ENCODER = "encoder"


def rebuilt(
    weights: Path | str, name: str, classes: str = "", size: str = ""
) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """A network and example inputs for it.

    Args:
        weights: its state_dict, as torch saves it.
        name: ENCODER, or a function of networks.py, which needs the other two.
        classes: number of classes.
        size: pixels of an image's side.
    """
    network: nn.Module
    if name == ENCODER:
        from encoder import Encoder
        from texts import samples

        network = Encoder()
        # Copied: a batch axis that numpy put in front has stride 0, which ExecuTorch refuses.
        example = tuple(torch.from_numpy(array.copy()) for array in samples(2, 0)[1].values())
    else:
        import networks

        network = getattr(networks, name)(int(classes))
        example = (torch.zeros(1, 3, int(size), int(size)),)
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval(), example
