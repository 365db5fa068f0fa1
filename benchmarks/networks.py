"""Definitions of the benchmark networks, from their papers. Every one takes (N, 3, H, W) and gives (N, classes)."""

from __future__ import annotations

import torch
from torch import nn


def _channels(value: float) -> int:
    """Rounds to a multiple of 8 and never loses more than a tenth (MobileNetV2's rule)."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * value else rounded + 8


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class _Residual(nn.Module):
    """x + body(x) where the shapes agree, body(x) elsewhere, then an optional activation."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None, after: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut, self.after = body, shortcut, after or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return self.after(y)  # type: ignore[no-any-return]


class _SqueezeExcite(nn.Module):
    """Channel attention (Hu et al. 2018, section 3), with SiLU inside as EfficientNet has it."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = nn.functional.silu(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.expand(gate))


def _inverted(inputs: int, outputs: int, expand: int, kernel: int, stride: int, efficient: bool) -> nn.Module:
    """Inverted residual: MobileNetV2's with ReLU6, or EfficientNet's with SiLU and squeeze-excite."""
    act: type[nn.Module] = nn.SiLU if efficient else nn.ReLU6
    hidden = inputs * expand
    layers = [*_conv(inputs, hidden, 1), act()] if expand > 1 else []
    layers += [*_conv(hidden, hidden, kernel, stride, hidden), act()]
    if efficient:
        layers.append(_SqueezeExcite(hidden, max(1, inputs // 4)))
    layers += _conv(hidden, outputs, 1)
    same = stride == 1 and inputs == outputs
    return _Residual(nn.Sequential(*layers), nn.Identity() if same else None)


def _head(inputs: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes)]


def mobilenet_v2(classes: int) -> nn.Module:
    """MobileNetV2 1.0 (Sandler et al. 2018, arXiv:1801.04381, table 2)."""
    layers: list[nn.Module] = [*_conv(3, 32, 3, 2), nn.ReLU6()]
    inputs = 32
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expand, outputs, repeats, stride in table:
        for i in range(repeats):
            layers.append(_inverted(inputs, outputs, expand, 3, stride if i == 0 else 1, efficient=False))
            inputs = outputs
    return nn.Sequential(*layers, *_conv(inputs, 1280, 1), nn.ReLU6(), *_head(1280, classes))


def efficientnet(classes: int) -> nn.Module:
    """EfficientNet-B0's blocks (Tan and Le 2019, arXiv:1905.11946, table 1) at half width and fewer repeats."""
    layers: list[nn.Module] = [*_conv(3, 16, 3, 2), nn.SiLU()]
    inputs = 16
    table = (
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 56, 2, 2, 3),
        (6, 96, 2, 2, 5),
        (6, 160, 1, 1, 3),
    )
    for expand, width, repeats, stride, kernel in table:
        outputs = _channels(width / 1.5)
        for i in range(repeats):
            layers.append(_inverted(inputs, outputs, expand, kernel, stride if i == 0 else 1, efficient=True))
            inputs = outputs
    return nn.Sequential(*layers, *_conv(inputs, 512, 1), nn.SiLU(), *_head(512, classes))


def resnet(classes: int) -> nn.Module:
    """ResNet-18 (He et al. 2015, arXiv:1512.03385, table 1) at half width."""
    layers: list[nn.Module] = [*_conv(3, 32, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = 32
    for outputs, stride in ((32, 1), (64, 2), (128, 2), (256, 2)):
        for i in range(2):
            step = stride if i == 0 else 1
            body = nn.Sequential(*_conv(inputs, outputs, 3, step), nn.ReLU(), *_conv(outputs, outputs, 3))
            project = step != 1 or inputs != outputs
            shortcut = nn.Sequential(*_conv(inputs, outputs, 1, step)) if project else nn.Identity()
            layers.append(_Residual(body, shortcut, nn.ReLU()))
            inputs = outputs
    return nn.Sequential(*layers, *_head(256, classes))


class _EncoderBlock(nn.Module):
    """Pre-norm transformer encoder block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(n, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        x = x + self.project(attended.transpose(1, 2).reshape(n, tokens, width))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class _VisionTransformer(nn.Module):
    def __init__(self, classes: int, size: int, patch: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.position = nn.Parameter(torch.randn(1, (size // patch) ** 2, width) * 0.02)
        self.blocks = nn.Sequential(*(_EncoderBlock(width, heads) for _ in range(layers)))
        self.norm, self.classifier = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.classifier(self.norm(self.blocks(tokens)).mean(1))  # type: ignore[no-any-return]


def vit(classes: int) -> nn.Module:
    """A plain ViT (Dosovitskiy et al. 2020, arXiv:2010.11929) for 96x96: patch 8, width 128, 4 layers, mean pooling."""
    return _VisionTransformer(classes, size=96, patch=8, width=128, heads=4, layers=4)
