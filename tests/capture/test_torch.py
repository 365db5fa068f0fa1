"""torch modules and exported programs: the graph gives what the module gives."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgeport.capture import Captured, capture
from edgeport.errors import CalibrationError, ModelError, UsageError
from edgeport.sample import Array, parse_input_spec
from edgeport.validate.onnx_runner import OnnxRunner

torch = pytest.importorskip("torch")
nn = torch.nn


class Convolution(nn.Module):  # type: ignore[misc, name-defined]
    """Batch norm and dropout: both change what they do in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.norm.running_mean += 1

    def forward(self, image: Any, scale: Any = None, *, extra: Any = None) -> Any:
        y = self.drop(self.norm(self.conv(image)))
        if extra is not None:
            y = y + extra
        return {"logits": y.mean((2, 3)), "features": (y, y * 2), "nothing": None, "image": image}


class Sum(nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, ids: Any, mask: Any) -> Any:
        return ids.float().softmax(-1) + mask.sum()


def specs(*texts: str) -> list[Any]:
    return [parse_input_spec(t) for t in texts]


def check(captured: Captured, **fixed: Array) -> dict[str, Array]:
    rng = np.random.default_rng(5)
    runner = OnnxRunner(captured.model)
    assert captured.reference.inputs == runner.inputs
    assert captured.reference.outputs == runner.outputs
    sample = {
        s.name: rng.standard_normal(tuple(map(int, s.shape))).astype(s.dtype)
        for s in runner.inputs
        if s.name not in fixed
    } | fixed
    got, want = runner.run(sample), captured.reference.run(sample)
    for name, value in want.items():
        # float32 kernels of two runtimes, a batch norm folded into its convolution: a few units in the last place.
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-5)
        assert got[name].dtype == value.dtype
    return want


def test_a_module_in_training_mode() -> None:
    module = Convolution()
    captured = capture(module, inputs=specs("image:float32[1,3,8,8]", "extra:float32[1]"))
    assert captured.name == "convolution"
    assert [v.name for v in captured.model.graph.inputs] == ["image", "extra"]
    assert captured.reference.outputs == ("logits", "features_0", "features_1", "image_out")
    assert module.training
    assert module.drop.training  # the caller's module is as it was
    image = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    got = check(captured, image=image, extra=np.ones(1, np.float32))
    with torch.no_grad():
        want = module.eval()(torch.from_numpy(image), extra=torch.ones(1))
    np.testing.assert_array_equal(got["logits"], want["logits"].numpy())  # the reference is the module itself
    np.testing.assert_array_equal(got["image_out"], image)


def test_later_training_does_not_reach_the_reference() -> None:
    module = nn.Sequential(nn.Linear(3, 2))
    captured = capture(module, inputs=specs("input:float32[1,3]"))
    with torch.no_grad():
        module[0].weight.zero_()
    assert np.ptp(check(captured)["output"]) > 0


def test_output_names() -> None:
    class Pair(nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return x + 1, [x, x]

    assert capture(nn.Sequential(nn.ReLU()), inputs=specs("input:float32[2]")).reference.outputs == ("output",)
    captured = capture(Pair(), inputs=specs("x:float32[2,3]"))
    assert captured.reference.outputs == ("output_0", "output_1_0", "output_1_1")
    check(captured)


def test_star_arguments_take_the_flags_in_order() -> None:
    class Minus(nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, *xs: Any) -> Any:
            return xs[0] - xs[1]

    b, a = np.full(2, 5, np.float32), np.full(2, 3, np.float32)
    captured = capture(Minus(), inputs=specs("b:float32[2]", "a:float32[2]"))
    np.testing.assert_array_equal(check(captured, b=b, a=a)["output"], [2, 2])


def test_symbolic_dimensions() -> None:
    flags = specs("ids:int64[N,seq]", "mask:int64[N,seq]")
    with pytest.raises(ModelError, match=r'--input "ids:int64\[1,128\]" --input "mask:int64\[1,128\]"'):
        capture(Sum(), inputs=flags)
    captured = capture(Sum(), inputs=specs("ids:int64[N,5]", "mask:int64[N,5]"))
    assert [str(s) for s in captured.reference.inputs] == ["ids:int64[1,5]", "mask:int64[1,5]"]
    assert [f.code for f in captured.findings] == ["batch-fixed"]
    kept = capture(Sum(), inputs=flags, keep_symbolic=True)
    assert [str(s) for s in kept.reference.inputs] == ["ids:int64[N,seq]", "mask:int64[N,seq]"]
    for shape in ((2, 7), (3, 5)):
        ones = np.ones(shape, np.int64)
        assert check(kept, ids=ones, mask=ones)["output"].shape == shape


def test_inputs_are_required_and_checked() -> None:
    with pytest.raises(ModelError, match=r"needs 'image'; .* --input \"image:float32\[1,3,224,224\]\""):
        capture(Convolution())
    with pytest.raises(UsageError, match="no parameter 'imag'; did you mean 'image'"):
        capture(Convolution(), inputs=specs("imag:float32[1,3,8,8]"))
    with pytest.raises(ModelError, match="cannot export Convolution"):
        capture(Convolution(), inputs=specs("image:float32[1,5,8,8]"))


def test_exported_programs(tmp_path: Path) -> None:
    image = torch.ones(1, 3, 8, 8)
    program = torch.export.export(Convolution().eval(), (image,))
    captured = capture(program)
    assert captured.reference.outputs == ("logits", "features_0", "features_1", "image_out")
    check(captured)
    torch.export.save(program, tmp_path / "Conv-Net.pt2")
    loaded = capture(tmp_path / "Conv-Net.pt2")
    assert loaded.name == "conv_net"
    assert loaded.digest == captured.digest
    check(loaded)

    dynamic = torch.export.export(
        Sum(),
        (torch.ones(4, 6, dtype=torch.int64), torch.ones(4, 6, dtype=torch.int64)),
        dynamic_shapes=[{0: torch.export.Dim("n")}] * 2,
    )
    two = capture(dynamic, inputs=specs("ids:int64[2,6]"))
    assert [str(s) for s in two.reference.inputs] == ["ids:int64[2,6]", "mask:int64[2,6]"]
    ones = np.ones((2, 6), np.int64)
    check(two, ids=ones, mask=ones)


def test_programs_that_a_graph_cannot_hold() -> None:
    class Counter(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Any) -> Any:
            self.count.add_(1)
            return x + self.count

    class Branch(nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return x if x.sum() > 0 else -x

    class Number(nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return x, 3

    class Eigen(nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return torch.linalg.eigvals(x).real

    class Half(nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return x.to(torch.bfloat16)

    cases = (
        (Counter(), "changes 'count' while it runs"),
        (Branch(), r"at test_torch.py:\d+: .*data-dependent"),
        (Number(), "something other than tensors"),
        (Eigen(), "No ONNX function found for .*linalg_eig"),
        (Half(), "bfloat16"),
    )
    for module, message in cases:
        with pytest.raises(ModelError, match=message) as caught:
            capture(module, inputs=specs("x:float32[3,3]"))
        assert "\n" not in str(caught.value)
        assert "\x1b" not in str(caught.value)

    with pytest.raises(ModelError, match="is TorchScript"):
        capture(torch.jit.trace(nn.Linear(3, 3), torch.ones(3, 3)), inputs=specs("input:float32[3,3]"))

    training = torch.export.export(nn.Sequential(nn.BatchNorm1d(3), nn.Dropout()).train(), (torch.ones(2, 3),))
    with pytest.raises(ModelError, match=r"training mode .*\.eval\(\)") as caught:
        capture(training)
    assert [f.op for f in caught.value.findings] == ["batch_norm", "dropout"]


def test_modules_that_cannot_be_copied_get_their_mode_back() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Dropout())
    module.cache = module[0].weight * 2  # a computed tensor: copy.deepcopy refuses it
    captured = capture(module.train(), inputs=specs("input:float32[1,3]"))
    assert module.training
    check(captured)
    assert module[1].training


class Padded(nn.Module):  # type: ignore[misc, name-defined]
    """torch's encoder takes its fused path in eval mode, which computes nothing for padding."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, x: Any, padding: Any) -> Any:
        return self.encoder(x, src_key_padding_mask=padding)


def test_encoder_layers_keep_padded_positions() -> None:
    torch.manual_seed(0)
    module = Padded().eval()
    captured = capture(module, inputs=specs("x:float32[2,6,8]", "padding:bool[2,6]"))
    padding = np.arange(6) >= np.asarray([[3], [5]])
    x = np.random.default_rng(0).standard_normal((2, 6, 8)).astype(np.float32)
    (got,) = check(captured, x=x, padding=padding).values()
    assert got.shape == (2, 6, 8)
    assert torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        fused = module(torch.from_numpy(x), torch.from_numpy(padding)).numpy()
    # 1e-5: kernels of another order of sums.
    np.testing.assert_allclose(got[~padding], fused[~padding], rtol=1e-5, atol=1e-5)
    assert not fused[padding].any()
    assert got[padding].any()


def test_the_reference_checks_its_samples() -> None:
    reference = capture(nn.Sequential(nn.Embedding(4, 2)), inputs=specs("input:int64[1]")).reference
    with pytest.raises(CalibrationError, match="lacks input 'input'"):
        reference.run({})
    with pytest.raises(CalibrationError, match="cannot run this sample: index out of range"):
        reference.run({"input": np.array([4])})
    assert reference.intermediates({"input": np.array([3])}, ["output"]) == {}


def test_nothing_is_printed_and_logging_stays(capfd: pytest.CaptureFixture[str]) -> None:
    before = logging.root.manager.disable
    captured = capture(Convolution(), inputs=specs("image:float32[1,3,8,8]"))
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == before
    data = ir.to_proto(captured.model).SerializeToString()
    assert str(Path(__file__).parent).encode() not in data  # the exporter writes stack traces into the nodes


SAME = """
import hashlib
import onnx_ir as ir, torch
from edgeport.capture import capture
from edgeport.sample import parse_input_spec
torch.manual_seed(0)
module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.GELU())
captured = capture(module, inputs=[parse_input_spec("input:float32[1,3,8,8]")])
graph = ir.to_proto(captured.model).SerializeToString(deterministic=True)
print(captured.digest, hashlib.sha256(graph).hexdigest())
"""


def test_the_same_module_gives_the_same_bytes_in_another_process(capsys: pytest.CaptureFixture[str]) -> None:
    there = subprocess.run([sys.executable, "-c", SAME], capture_output=True, text=True, check=True).stdout
    exec(SAME, {})
    assert capsys.readouterr().out == there
    assert len(there.split()) == 2
