"""Attention as PyTorch models write it, through both of PyTorch's exporters: one operator, the same numbers."""

from __future__ import annotations

import io
import logging
import math
import warnings

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
nn = torch.nn
attend = nn.functional.scaled_dot_product_attention


class Projected(nn.Module):
    """Queries, keys and values of width 16 in four heads; `keys` heads of keys and values."""

    def __init__(self, keys: int = 4) -> None:
        super().__init__()
        self.q, self.out = nn.Linear(16, 16), nn.Linear(16, 16)
        self.k, self.v = nn.Linear(16, 4 * keys), nn.Linear(16, 4 * keys)

    def heads(self, x):
        return [p(x).view(1, 6, -1, 4).transpose(1, 2) for p in (self.q, self.k, self.v)]

    def joined(self, y):
        return self.out(y.transpose(1, 2).reshape(1, 6, 16))


class MaskedFill(Projected):
    """DistilBERT: q / sqrt(d), masked_fill with the lowest float."""

    def forward(self, x, mask):
        q, k, v = self.heads(x)
        scores = torch.matmul(q / math.sqrt(4), k.transpose(2, 3))
        masked = (mask == 0).view(1, 1, 1, 6).expand_as(scores)
        scores = scores.masked_fill(masked, torch.tensor(torch.finfo(scores.dtype).min))
        return self.joined(torch.matmul(scores.softmax(-1), v))


class Relative(Projected):
    """T5: no scale, a bias by distance, a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Embedding(8, 4)

    def forward(self, x, mask):
        q, k, v = self.heads(x)
        distance = (torch.arange(6)[None] - torch.arange(6)[:, None]).abs()
        bias = self.bias(distance).permute(2, 0, 1)[None]
        bias = bias + (1.0 - mask[:, None, None].float()) * torch.finfo(torch.float32).min
        return self.joined(torch.matmul((torch.matmul(q, k.transpose(3, 2)) + bias).softmax(-1), v))


class Causal(Projected):
    """GPT-2: one projection, a triangle kept by where, a padding mask."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("triangle", torch.ones(1, 1, 9, 9, dtype=torch.bool).tril())

    def forward(self, x, mask):
        q, k, v = self.heads(x)
        scores = torch.matmul(q, k.transpose(-1, -2)) / torch.full([], 2.0)
        lowest = torch.finfo(scores.dtype).min
        scores = torch.where(self.triangle[:, :, :6, :6], scores, torch.full([], lowest))
        scores = scores + (1.0 - mask[:, None, None].float()) * lowest
        return self.joined(torch.matmul(scores.softmax(-1), v))


class Grouped(Projected):
    """Llama: two heads of keys for four of queries, repeated by expand."""

    def __init__(self) -> None:
        super().__init__(keys=2)

    def forward(self, x, mask):
        q, k, v = self.heads(x)
        k, v = (t[:, :, None].expand(1, 2, 2, 6, 4).reshape(1, 4, 6, 4) for t in (k, v))
        return self.joined(attend(q, k, v, attn_mask=(1.0 - mask[:, None, None].float()) * -1e9))


class Fused(Projected):
    """Boolean mask of scaled_dot_product_attention, which the exporter guards against NaN."""

    def forward(self, x, mask):
        return self.joined(attend(*self.heads(x), attn_mask=mask[:, None, None].to(torch.bool)))


class Batched(Projected):
    """BART: bmm over batch times heads."""

    def forward(self, x, mask):
        q, k, v = (t.contiguous().view(4, 6, 4) for t in self.heads(x))
        scores = torch.bmm(q * 0.5, k.transpose(1, 2)).view(1, 4, 6, 6)
        scores = scores + (1.0 - mask[:, None, None].float()) * torch.finfo(torch.float32).min
        return self.joined(torch.bmm(scores.view(4, 6, 6).softmax(-1), v).view(1, 4, 6, 4))


class Windows(nn.Module):
    """Swin: relative bias, and a mask between shifted windows."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.bias = nn.Linear(16, 48), nn.Parameter(torch.randn(1, 4, 6, 6))
        mask = torch.zeros(2, 6, 6)
        mask[1, :3, 3:] = -100
        self.register_buffer("mask", mask)

    def forward(self, x):
        q, k, v = self.qkv(x).reshape(4, 6, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * 0.5) @ k.transpose(-2, -1) + self.bias
        scores = scores.view(2, 2, 4, 6, 6) + self.mask[None, :, None]
        return (scores.view(4, 4, 6, 6).softmax(-1) @ v).transpose(1, 2).reshape(4, 6, 16)


class Pixels(nn.Module):
    """YOLO: heads times depth are channels, the weights stand on the right. Diffusion U-Nets: a group norm before."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv = nn.GroupNorm(4, 16), nn.Conv2d(16, 48, 1)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).view(1, 4, 12, 6).split([4, 4, 4], dim=2)
        weights = ((q.transpose(-2, -1) @ k) * 0.5).softmax(-1)
        return (v @ weights.transpose(-2, -1)).view(1, 16, 2, 3)


def exported(module: nn.Module, inputs: tuple[torch.Tensor, ...], dynamo: bool) -> onnx.ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    names = ["x", "mask"][: len(inputs)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            program = torch.onnx.export(module, inputs, dynamo=True, input_names=names, opset_version=18, verbose=False)
            return program.model_proto
        file = io.BytesIO()
        torch.onnx.export(module, inputs, file, dynamo=False, input_names=names, opset_version=17)
        return onnx.load_from_string(file.getvalue())


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "traced"])
@pytest.mark.parametrize(
    "kind", [MaskedFill, Relative, Causal, Grouped, Fused, Batched, Windows, Pixels], ids=lambda k: k.__name__
)
def test_attention_of_a_module(check, kind, dynamo):
    torch.manual_seed(0)
    shape = {Windows: (4, 6, 16), Pixels: (1, 16, 2, 3)}.get(kind, (1, 6, 16))
    inputs = (torch.randn(shape), torch.tensor([[1, 1, 1, 1, 0, 0]]))[: 1 if kind in (Windows, Pixels) else 2]
    module = kind().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    proto = exported(module, inputs, dynamo)
    feeds = {name: np.asarray(tensor) for name, tensor in zip(("x", "mask"), inputs, strict=False)}
    checked = check(proto, feeds=feeds)
    assert checked.ops["Attention"] == 1
    assert "Softmax" not in checked.ops
    heads = checked.node("Attention").inputs[1].shape[1]
    assert heads == (2 if kind is Grouped else 4)
    assert ("GroupNormalization" in checked.ops) == (kind is Pixels)
