"""A vision transformer for 28x28 images, of torch's own encoder layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """16 patches of 7x7 pixels and a class token, four layers of width 96, ten classes; 307 k parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 96, 7, stride=7)
        self.token = nn.Parameter(torch.zeros(1, 1, 96))
        self.positions = nn.Parameter(torch.zeros(1, 17, 96))
        layer = nn.TransformerEncoderLayer(96, 4, 192, activation="gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, norm=nn.LayerNorm(96), enable_nested_tensor=False)
        self.classes = nn.Linear(96, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of the classes, [N, 10], for images [N, 1, 28, 28]."""
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.positions
        scores: Tensor = self.classes(self.layers(x)[:, 0])
        return scores
