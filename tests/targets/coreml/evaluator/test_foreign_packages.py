"""Packages that others wrote: coremltools' converter from PyTorch, and one that Apple's tools wrote years ago."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeport.targets.coreml.evaluator.run import Evaluator

BENCH = Path(__file__).parents[5] / "shared" / "bench" / "basic_pitch"


def _cnn() -> tuple[Any, tuple[Any, ...]]:
    import torch
    from torch import nn

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
            self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 5, padding=2, groups=8), nn.ReLU6(), nn.Conv2d(8, 8, 1))
            self.up = nn.Sequential(nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.GroupNorm(2, 4), nn.SiLU())
            self.pools = nn.ModuleList([nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False)])

        def forward(self, x: Any) -> Any:
            x = self.stem(x)
            x = x + self.depthwise(x)
            pooled = torch.cat([pool(x) for pool in self.pools], 1)
            wide = nn.functional.interpolate(pooled, scale_factor=4.0, mode="bilinear", align_corners=False)
            return torch.cat([self.up(x), wide], 1).mean((2, 3)), pooled.flatten(2).softmax(-1)

    return Residual(), (torch.randn(2, 3, 24, 32),)


def _transformer() -> tuple[Any, tuple[Any, ...]]:
    import torch
    from torch import nn

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(50, 16)
            self.norm = nn.LayerNorm(16)
            self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
            self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

        def forward(self, tokens: Any) -> Any:
            x = self.embed(tokens)
            q, k, v = self.qkv(self.norm(x)).reshape(2, 7, 3, 2, 8).permute(2, 0, 3, 1, 4)
            mask = torch.tril(torch.ones(7, 7, dtype=torch.bool))
            scores = torch.where(mask, q @ k.transpose(-1, -2) / 8**0.5, torch.tensor(-1e4))
            x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(2, 7, 16))
            return x + self.mlp(self.norm(x)), x.argmax(-1)

    return Encoder(), (torch.randint(0, 50, (2, 7)),)


def _recurrent() -> tuple[Any, tuple[Any, ...]]:
    import torch
    from torch import nn

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(6, 8, num_layers=2, bidirectional=True)
            self.gru = nn.GRU(16, 5)

        def forward(self, x: Any) -> Any:
            states, _ = self.lstm(x)
            out, last = self.gru(states)
            return out.cumsum(0).topk(2, -1)[0], last

    return Tagger(), (torch.randn(9, 2, 6),)


@pytest.mark.parametrize("deployment", ["iOS15", "iOS18"])
@pytest.mark.parametrize("make", [_cnn, _transformer, _recurrent])
def test_what_coremltools_makes_of_torch_models(
    make: Callable[[], tuple[Any, tuple[Any, ...]]], deployment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        ct = pytest.importorskip("coremltools")
        from coremltools.converters.mil.frontend.torch import ops

        torch.manual_seed(0)
        model, inputs = make()
        model.eval()
        convert = ops._cast

        def cast(context: Any, node: Any, dtype: type, name: str) -> None:
            """coremltools 9.0 calls int() on arrays of one element, which numpy 2.4 no longer allows."""
            convert(context, node, type(name, (), {"__new__": lambda _, value: dtype(np.asarray(value).item())}), name)

        monkeypatch.setattr(ops, "_cast", cast)
        with torch.no_grad():
            wanted = model(*inputs)
            traced = torch.jit.trace(model, inputs, check_trace=False)
        converted = ct.convert(
            traced,
            inputs=[
                ct.TensorType(shape=x.shape, dtype=np.float32 if x.is_floating_point() else np.int32) for x in inputs
            ],
            minimum_deployment_target=getattr(ct.target, deployment),
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
        converted.save(str(tmp_path / "m.mlpackage"))
    evaluator = Evaluator(tmp_path / "m.mlpackage")
    given = {name: x.numpy() for name, x in zip(evaluator.inputs, inputs, strict=True)}
    outputs = evaluator.run(given).outputs.values()
    for got, want in zip(outputs, wanted, strict=True):
        # float32 in another order through up to ten layers; scores are around 1.
        np.testing.assert_allclose(got, want.numpy(), atol=2e-5)


def test_old_writers_leave_a_field_of_records_undefined(save: Any, tmp_path: Path) -> None:
    """The count of unused bits behind a blob means nothing for whole bytes."""
    table = np.random.default_rng(0).standard_normal((9, 9)).astype(np.float32)
    x = np.ones(9, np.float32)
    path, (value,) = save(tmp_path / "m.mlpackage", lambda mb, x: mb.mul(x=x, y=table), inputs={"x": x})
    weights = path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    data = bytearray(weights.read_bytes())
    struct.pack_into("<Q", data, 64 + 24, 11751492080)
    weights.write_bytes(data)
    np.testing.assert_array_equal(Evaluator(path).run({"x": x}).outputs[value.name], table)


@pytest.mark.skipif(not BENCH.exists(), reason="the benchmark's models are not here")
def test_a_package_that_apple_wrote() -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(BENCH / "nmp.onnx")
    evaluator = Evaluator(BENCH / "nmp.mlpackage")
    ((name, declared),) = evaluator.inputs.items()
    audio = np.random.default_rng(0).normal(0, 0.1, declared.shape).astype(np.float32)
    wanted = session.run(None, {session.get_inputs()[0].name: audio})
    outputs = evaluator.run({name: audio}).outputs
    assert len(outputs) == len(wanted)
    for got in outputs.values():
        # The files name their outputs differently: each must be one of the other's, up to float32's rounding.
        assert min(np.abs(got - want).max() for want in wanted if want.shape == got.shape) < 1e-4
