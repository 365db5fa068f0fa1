"""Bad luck and ill will: each ends in one line with the right exit code, and leaves the previous output alone."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from edgeport import api
from edgeport.calibration.preprocessing import Preprocessing
from edgeport.cli.main import run
from edgeport.errors import CalibrationError, ModelError, ToolchainError, UsageError


def refused(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int, str]:
    """Exit code and the one line on stderr (findings, which are indented, follow it)."""
    code = run([str(word) for word in argv])
    first, *rest = capsys.readouterr().err.splitlines()
    assert all(line.startswith("  ") for line in rest)
    assert "internal error" not in first
    return code, first


def product(path: Path, weight: onnx.TensorProto) -> Path:
    """y = x w, with x float[1, 4]."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,4] x) => (float[1,4] y) { y = MatMul(x, w) }'
    )
    weight.name = "w"
    model.graph.initializer.append(weight)
    onnx.save(model, path)
    return path


def hashes(folder: Path) -> dict[str, str]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("location", [".", "./", "", "../w.bin", "/etc/passwd"])
def test_external_data_stays_beside_the_model(location: str, tmp_path: Path) -> None:
    weight = onnx.TensorProto(data_type=1, dims=[4, 4], data_location=onnx.TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    with pytest.raises(ModelError, match="outside the model's folder"):
        api.inspect(product(tmp_path / "m.onnx", weight))


@pytest.mark.parametrize("dims", [[-4, 4], [10**6, 10**6], [4, 3], [5, 4]])
def test_weights_that_do_not_fill_their_shape_are_named(dims: list[int], tmp_path: Path) -> None:
    weight = onnx.TensorProto(data_type=1, dims=dims, raw_data=bytes(64))
    with pytest.raises(ModelError, match=r"weight 'w' of .*m.onnx has 64 bytes"):
        api.inspect(product(tmp_path / "m.onnx", weight))


@pytest.mark.parametrize("precision", ["int8-dynamic", "int8-weights"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_without_a_scale_stay_float(value: float, precision: str, tmp_path: Path) -> None:
    array = np.eye(4, dtype=np.float32)
    array[3, 3] = value
    model = product(tmp_path / "m.onnx", onnx.numpy_helper.from_array(array))
    report = api.export(model, precision=precision, dry_run=True).report
    (node,) = report["targets"][0]["plan"]["nodes"]
    assert node["kernel"] == "float32"
    assert "NaN or infinite" in node["reason"]


@pytest.mark.parametrize("first", ["1000000", "99999999999999999999"])
def test_inputs_that_no_memory_holds_are_refused_before_one_is_made(
    first: str, cnn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = refused(capsys, "inspect", cnn, "--input", f"image:float32[{first},3,16,16]")
    assert code == 2
    assert "GiB a sample" in line


def test_running_out_of_memory_is_no_internal_error(
    cnn: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*args: object, **kwargs: object) -> None:
        raise MemoryError("Unable to allocate 112. GiB")

    monkeypatch.setattr(api, "inspect", exhausted)
    code, line = refused(capsys, "inspect", cnn)
    assert code == 3
    assert "out of memory: Unable to allocate 112. GiB" in line


def test_inspect_names_the_pip_line_of_a_missing_toolchain(cnn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for target in ("tflite", "coreml"):
        with pytest.raises(ToolchainError, match=rf"pip install 'edgeport\[{target}\]'"):
            api.inspect(cnn, target=target)
    assert list(api.inspect(cnn).facts["targets"]) == ["onnxruntime", "tensorrt"]  # which need none


def test_a_name_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = onnx.helper.make_node("\x1b[31mFoo", ["x"], ["y"], name="\x1b]0;title\x07")
    info = [onnx.helper.make_tensor_value_info(name, 1, [1, 4]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", info[:1], info[1:])
    onnx.save(onnx.helper.make_model(graph, ir_version=8), tmp_path / "m.onnx")
    assert run(["inspect", str(tmp_path / "m.onnx")]) == 3
    text = capsys.readouterr().err
    assert r"\x1b[31mFoo" in text
    assert "\x1b" not in text
    assert "\x07" not in text


def test_an_empty_target_is_not_the_default(cnn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = refused(capsys, "inspect", cnn, "--target", "")
    assert code == 2
    assert "--target" in line


def test_an_output_name_that_is_too_long(cnn: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write --out"):
        api.export(cnn, precision="fp32", out=tmp_path / ("o" * 300))


@pytest.mark.parametrize("damage", ["empty", "junk", "cut", "offsets"])
def test_validate_refuses_a_damaged_artifact(damage: str, cnn: Path, images: Path, tmp_path: Path) -> None:
    api.export(cnn, precision="fp32", validate=False, out=tmp_path / "out")
    path = tmp_path / "out/tflite/small_cnn.tflite"
    good = path.read_bytes()
    junk = np.random.default_rng(0).bytes(5000)
    path.write_bytes(
        {"empty": b"", "junk": junk, "cut": good[: len(good) // 2], "offsets": good[:8] + b"\xff" * 64 + good[72:]}[
            damage
        ]
    )
    with pytest.raises(ModelError, match=r"small_cnn.tflite is no .tflite file .* or is damaged"):
        api.validate(path, cnn, data=images)


def test_validate_refuses_another_models_artifact(cnn: Path, images: Path, tmp_path: Path) -> None:
    other = onnx.load(cnn)
    other.graph.output[0].name = other.graph.node[-1].output[0] = "scores"
    onnx.save(other, tmp_path / "other.onnx")
    api.export(tmp_path / "other.onnx", precision="fp32", validate=False, out=tmp_path / "out")
    with pytest.raises(UsageError, match=r"output 'logits', other.tflite gives \['scores'\]"):
        api.validate(tmp_path / "out/tflite/other.tflite", cnn, data=images)


@pytest.mark.parametrize("table", [{"scale": np.inf}, {"mean": [np.nan] * 3}, {"std": [np.inf] * 3}])
def test_preprocessing_is_finite(table: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="finite"):
        Preprocessing.parse(table)


def test_a_resize_that_no_memory_holds(cnn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    for i in range(4):
        Image.new("RGB", (16, 16), (i, 0, 0)).save(tmp_path / f"images/{i}.png")

    def exhausted(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", exhausted)
    with pytest.raises(CalibrationError, match=r"\d.png cannot be read \(MemoryError\)"):
        api.export(cnn, calib=tmp_path / "images", preprocessing={"resize": 10**7}, out=tmp_path / "out")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_full_disk_behind_stdout(flags: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgeport", "targets", *flags], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.startswith("edgeport: the result cannot be written to stdout: ")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_utf8(cnn: Path, tmp_path: Path) -> None:
    model = cnn.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff net.onnx"))
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/out\xff"))
    result = api.export(model, precision="fp32", out=out)
    assert result.artifacts["tflite"] == out / "tflite/net.tflite"
    assert result.report["targets"][0]["verdict"] == "measured"


def test_how_paths_are_given_does_not_change_a_byte(
    cnn: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "metric.py").write_text("def peak(sample, outputs):\n    return float(outputs['logits'].max())\n")
    seen = []
    for start, folder in ((tmp_path, ""), (tmp_path, "./"), (tmp_path / "deep", "../"), (tmp_path, f"{tmp_path}/")):
        monkeypatch.chdir(start)
        out = tmp_path / f"out{len(seen)}"
        api.export(cnn, calib=f"{folder}images.npz", metric=f"{folder}metric.py:peak", out=out)
        seen.append(hashes(out))
    assert all(other == seen[0] for other in seen)


def test_a_file_among_the_passes_is_all_that_a_pass_needs(tmp_path: Path) -> None:
    text = 'from edgeport.passes.registry import register\n@register("mine")\ndef mine(model):\n    return False\n'
    (tmp_path / "mine.py").write_text(text)
    code = (
        "import importlib.util as loading, sys\n"
        "spec = loading.find_spec('edgeport.passes')\n"
        "spec.submodule_search_locations.append(sys.argv[1])\n"
        "sys.modules[spec.name] = passes = loading.module_from_spec(spec)\n"
        "spec.loader.exec_module(passes)\n"
        "passes.get('mine')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
