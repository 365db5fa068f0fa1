"""Untrained networks whose tensors cross between images and other shapes: where converters leave TRANSPOSE.

Every one takes (1, 3, 64, 64) float32. Only structure counts: sizes are small and weights random.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class UNet(nn.Module):
    """Down, up by ConvTranspose and by bilinear Resize, skips by Concat (Ronneberger et al. 2015, arXiv:1505.04597)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = _block(3, 16), _block(16, 32, stride=2), _block(32, 64, stride=2)
        self.up = nn.ConvTranspose2d(64, 32, 2, 2)
        self.decode1, self.decode2, self.classes = _block(64, 32), _block(48, 16), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        full = self.first(x)
        half = self.second(full)
        y = self.decode1(torch.cat([self.up(self.third(half)), half], 1))
        y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        return cast(Tensor, self.classes(self.decode2(torch.cat([y, full], 1))))


class YoloHead(nn.Module):
    """Nearest upsampling, Split, and YOLOv8's head: levels flattened and joined, box edges by softmax over 16 bins."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = _block(3, 32, stride=4), _block(32, 64, stride=2)
        self.pool, self.mix = nn.MaxPool2d(5, 1, 2), _block(128, 64, 1)
        self.fine, self.coarse = nn.Conv2d(96, 72, 1), nn.Conv2d(64, 72, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.stem(x)
        b = self.deep(a)
        b = self.mix(torch.cat([b, self.pool(b)], 1))
        up = torch.cat([F.interpolate(b, scale_factor=2.0, mode="nearest"), a], 1)
        levels = torch.cat([self.fine(up).flatten(2), self.coarse(b).flatten(2)], 2)
        box, scores = levels.split([64, 8], 1)
        bins = box.view(1, 4, 16, -1).transpose(1, 2).softmax(1)
        edges = (bins * torch.arange(16.0).view(1, 16, 1, 1)).sum(1)
        return torch.cat([edges, scores.sigmoid()], 1)


class Crnn(nn.Module):
    """Text recognition: convolutions, then columns as time steps (Shi et al. 2015, arXiv:1507.05717)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(_block(3, 16), nn.MaxPool2d(2), _block(16, 32), nn.MaxPool2d((4, 2)))
        self.step, self.symbols = nn.Linear(32 * 8, 64), nn.Linear(64, 40)

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        columns = y.flatten(1, 2).transpose(1, 2)
        return cast(Tensor, self.symbols(torch.relu(self.step(columns))).log_softmax(-1))


class Vit(nn.Module):
    """Patches by convolution, class token, two encoder blocks (Dosovitskiy et al. 2020, arXiv:2010.11929)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 64, 8, 8), nn.Parameter(torch.randn(1, 1, 64))
        self.place = nn.Parameter(torch.randn(1, 65, 64))
        self.qkv = nn.ModuleList(nn.Linear(64, 192) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(64, 64) for _ in range(2))
        self.norm, self.classes = nn.LayerNorm(64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([self.token, self.patches(x).flatten(2).transpose(1, 2)], 1) + self.place
        for qkv, out in zip(self.qkv, self.out, strict=True):
            q, k, v = qkv(self.norm(y)).reshape(1, 65, 3, 4, 16).permute(2, 0, 3, 1, 4)
            y = y + out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(1, 65, 64))
        return cast(Tensor, self.classes(y[:, 0]))


class Shuffle(nn.Module):
    """Split and channel shuffle (Ma et al. 2018, arXiv:1807.11164)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.classes = _block(3, 24, stride=2), nn.Linear(24, 10)
        self.blocks = nn.ModuleList(nn.Sequential(_block(12, 12, 1), _block(12, 12, groups=12)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        for block in self.blocks:
            left, right = y.chunk(2, 1)
            y = torch.cat([left, block(right)], 1)
            n, channels, height, width = y.shape
            y = y.view(n, 2, channels // 2, height, width).transpose(1, 2).reshape(n, channels, height, width)
        return cast(Tensor, self.classes(y.mean((2, 3))))


class ConvNext(nn.Module):
    """LayerNorm and linear layers over channels between depthwise convolutions (Liu et al. 2022, arXiv:2201.03545)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.classes = nn.Conv2d(3, 32, 4, 4), nn.Linear(32, 10)
        self.depthwise = nn.ModuleList(nn.Conv2d(32, 32, 7, 1, 3, groups=32) for _ in range(2))
        self.norm, self.up, self.down = nn.LayerNorm(32), nn.Linear(32, 128), nn.Linear(128, 32)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        for depthwise in self.depthwise:
            z = self.norm(depthwise(y).permute(0, 2, 3, 1))
            y = y + self.down(F.gelu(self.up(z))).permute(0, 3, 1, 2)
        return cast(Tensor, self.classes(y.mean((2, 3))))


NETWORKS: dict[str, type[nn.Module]] = {
    "unet": UNet,
    "yolo_head": YoloHead,
    "crnn": Crnn,
    "vit": Vit,
    "shuffle": Shuffle,
    "convnext": ConvNext,
}
