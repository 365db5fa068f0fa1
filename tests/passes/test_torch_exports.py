"""PyTorch modules through torch.onnx.export(dynamo=True): same numbers, and the operators one would draw."""

from __future__ import annotations

import logging
import tempfile

import onnx
import pytest

torch = pytest.importorskip("torch")
nn = torch.nn


def exported(module: object, *inputs: object, optimize: bool = True) -> onnx.ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    for part in module.eval().modules():
        if isinstance(part, nn.BatchNorm2d):  # as after training, so that folding has something to fold
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    for parameter in module.parameters():
        if parameter.ndim == 1 and not parameter.any():
            nn.init.normal_(parameter)
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/module.onnx"
        torch.onnx.export(module, inputs, file, opset_version=18, dynamo=True, optimize=optimize, verbose=False)
        return onnx.load(file)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 4, 1), nn.ReLU(), nn.Conv2d(4, channels, 1), nn.Hardsigmoid()
        )

    def forward(self, x):
        return x * self.layers(x)


class ConvNeXtBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.norm = nn.LayerNorm(8)
        self.wide, self.narrow = nn.Linear(8, 32), nn.Linear(32, 8)
        self.scale = nn.Parameter(torch.randn(8))

    def forward(self, x):
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(nn.functional.gelu(self.wide(y))) * self.scale
        return x + y.permute(0, 3, 1, 2)


class GatedRms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16))
        self.gate, self.value = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x):
        y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight
        return nn.functional.silu(self.gate(y)) * self.value(y)


@pytest.mark.parametrize("optimize", [True, False])
def test_transformer_encoder_layer(check, optimize):
    module = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True, activation="gelu")
    ops = check(exported(module, torch.randn(1, 6, 32), optimize=optimize)).ops
    assert ops["Attention"] == 1
    assert ops["Gelu"] == 1
    assert ops["LayerNormalization"] == 2
    assert set(ops) == {"Attention", "Gelu", "LayerNormalization", "MatMul", "Add", "Reshape", "Transpose", "Gather"}


@pytest.mark.parametrize("optimize", [True, False])
def test_mobilenet_v3_block(check, optimize):
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.Hardswish(),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.Hardswish(),
        SqueezeExcite(8),
        nn.Conv2d(8, 16, 1, bias=False),
        nn.BatchNorm2d(16),
    )
    ops = check(exported(module, torch.randn(1, 3, 16, 16), optimize=optimize)).ops
    assert ops == {"Conv": 5, "HardSwish": 2, "ReduceMean": 1, "Relu": 1, "HardSigmoid": 1, "Mul": 1}


def test_convnext_block(check):
    ops = check(exported(ConvNeXtBlock(), torch.randn(1, 8, 9, 9))).ops
    assert ops == {"Conv": 1, "Transpose": 2, "LayerNormalization": 1, "MatMul": 2, "Add": 3, "Gelu": 1}


def test_rms_norm_and_silu(check):
    ops = check(exported(GatedRms(), torch.randn(1, 5, 16))).ops
    assert ops == {"RMSNormalization": 1, "MatMul": 2, "Add": 2, "Swish": 1, "Mul": 1}


def test_batch_norm_on_both_sides_of_convolutions(check):
    module = nn.Sequential(
        nn.BatchNorm2d(3),
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.ConvTranspose2d(8, 6, 2, 2, groups=2),
        nn.BatchNorm2d(6),
    )
    assert check(exported(module, torch.randn(1, 3, 10, 10))).ops == {"Conv": 1, "Clip": 1, "ConvTranspose": 1}
