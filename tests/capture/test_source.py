"""Which source is what, and what is said about those that are none."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from small_onnx import WEIGHT, WriteModel, make_model

from edgeport.capture import capture
from edgeport.capture.captured import safe_name
from edgeport.errors import ModelError, ToolchainError, UsageError
from edgeport.sample import parse_input_spec
from edgeport.validate.onnx_runner import OnnxRunner

X = np.ones((1, 4), np.float32)

BUILDERS = """
import torch
import edgeport_test_layers as layers
print("building")

def module():
    return layers.Net()

def with_example():
    return layers.Net(), (torch.ones(1, 4),)

def with_keywords():
    return layers.Net(), {"x": torch.ones(1, 4)}

def program():
    return torch.export.export(layers.Net().eval(), (torch.ones(1, 4),))

def nothing():
    return None

def broken():
    size = 3
    return torch.zeros(2) @ torch.zeros(size)
"""

LAYERS = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x)
"""


@pytest.fixture
def builders(tmp_path: Path) -> Path:
    pytest.importorskip("torch")
    (tmp_path / "edgeport_test_layers.py").write_text(LAYERS)
    path = tmp_path / "nets.py"
    path.write_text(BUILDERS)
    return path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("MobileNetV2", "mobile_net_v2"),
        ("fmnist_ds", "fmnist_ds"),
        ("Model-7.1 (final)", "model_7_1_final"),
        ("TinyViT", "tiny_vit"),
        ("../..", "model"),
        ("模型", "model"),
    ],
)
def test_names_are_safe(text: str, name: str) -> None:
    assert safe_name(text) == name


@pytest.mark.parametrize("entry", ["with_example", "with_keywords", "program", "module"])
def test_entries_that_give_torch_models(builders: Path, entry: str, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = [parse_input_spec("x:float32[N,4]")] if entry == "module" else []
    modules = set(sys.modules)
    captured = capture(f"{builders}:{entry}", inputs=inputs)
    assert not [m for m in set(sys.modules) - modules if "edgeport_test" in m or "edgeport_entry" in m]
    assert captured.name == entry
    assert [str(s) for s in captured.reference.inputs] == ["x:float32[1,4]"]
    # two float32 runtimes, four products each
    got, want = OnnxRunner(captured.model).run({"x": X})["output"], captured.reference.run({"x": X})["output"]
    np.testing.assert_allclose(got, want, rtol=1e-5)
    printed = capsys.readouterr()
    assert printed.out == ""  # stdout belongs to --json
    assert "building" in printed.err


def test_an_entry_without_inputs_says_what_to_give(builders: Path) -> None:
    with pytest.raises(ModelError, match=r'module needs \'x\'; .*--input "x:'):
        capture(f"{builders}:module")


def test_entries_that_fail(builders: Path) -> None:
    with pytest.raises(ModelError, match=r"nets.py:\d+: RuntimeError: ") as caught:
        capture(f"{builders}:broken")
    line = BUILDERS.splitlines().index("    return torch.zeros(2) @ torch.zeros(size)") + 1
    assert f"nets.py:{line}:" in str(caught.value)
    with pytest.raises(ModelError, match="returned a NoneType; return an nn.Module"):
        capture(f"{builders}:nothing")
    with pytest.raises(UsageError, match="has no 'modul'; did you mean 'module'"):
        capture(f"{builders}:modul")
    with pytest.raises(UsageError, match="no such file"):
        capture(f"{builders.parent}/none.py:build")
    (builders.parent / "syntax.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(ModelError, match=r"syntax.py:2: SyntaxError"):
        capture(f"{builders.parent}/syntax.py:f")


def test_entries_that_give_onnx(write_model: WriteModel, tmp_path: Path) -> None:
    write_model()
    (tmp_path / "build.py").write_text(
        "import onnx, onnx_ir, pathlib\nHERE = pathlib.Path(__file__).parent / 'model.onnx'\n"
        "def path(): return HERE\ndef proto(): return onnx.load(HERE)\ndef graph(): return onnx_ir.load(HERE)\n"
    )
    for entry in ("path", "proto", "graph"):
        captured = capture(f"{tmp_path / 'build.py'}:{entry}")
        np.testing.assert_allclose(captured.reference.run({"x": X})["y"], X @ WEIGHT, rtol=1e-6)  # 4 float32 products
        assert captured.name == ("model" if entry == "path" else entry)


def test_model_objects() -> None:
    proto = make_model()
    before = proto.SerializeToString()
    captured = capture(ir.from_proto(proto))
    np.testing.assert_allclose(captured.reference.run({"x": X})["y"], X @ WEIGHT, rtol=1e-6)  # 4 float32 products
    assert proto.SerializeToString() == before


def test_weights_without_a_graph(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(2, 2)
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    torch.save(module, tmp_path / "module.pth")
    torch.save(module.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save(module.state_dict(), tmp_path / "weights.onnx.bin")
    for name in ("weights.pt", "module.pth", "old.pt", "weights.onnx.bin"):
        with pytest.raises(ModelError, match=f"{name} holds weights or a pickled module.*file.py:function"):
            capture(tmp_path / name)


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    path.write_bytes(b"\x80\x04cposix\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(ModelError):
        capture(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", b"cposix\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(ModelError):
        capture(path)
    assert not (tmp_path / "ran").exists()


def test_programs_cut_in_half(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(4, 2), (torch.ones(1, 4),)), path)
    capture(path)
    data = path.read_bytes()
    for size in (0, 1, 100, len(data) // 2, len(data) - 10):
        path.write_bytes(data[:size])
        with pytest.raises(ModelError) as caught:
            capture(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_what_is_no_source(tmp_path: Path) -> None:
    for name, message in (
        ("net.tflite", "is a TFLite file, not a source"),
        ("net.h5", "is a Keras file, not a source"),
        ("net.txt", "not a readable ONNX model"),
    ):
        (tmp_path / name).write_bytes(b"TFL3" * 20)
        with pytest.raises(ModelError, match=message):
            capture(tmp_path / name)
    (tmp_path / "net.py").write_text("")
    with pytest.raises(UsageError, match=r"net.py:build"):
        capture(tmp_path / "net.py")
    with pytest.raises(UsageError, match="no such file"):
        capture(tmp_path / "none.onnx")
    with pytest.raises(UsageError, match="cannot capture a list"):
        capture([])  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="is a folder"):
        capture(tmp_path)


def test_without_torch_the_pip_line_is_told(builders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    path = builders.parent / "net.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(4, 2), (torch.ones(1, 4),)), path)
    monkeypatch.setitem(sys.modules, "torch", None)  # what importing an uninstalled package meets
    for source in (path, f"{builders}:module"):
        with pytest.raises(ToolchainError, match=r'pip install "edgeport\[torch\]"'):
            capture(source)


def test_onnx_capture_does_not_import_torch(write_model: WriteModel) -> None:
    program = (
        "import sys\nfrom edgeport.capture import capture\nassert 'onnxruntime' not in sys.modules\n"
        f"capture({str(write_model())!r})\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
