"""The examples run as their README says."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeport.cli.main import run

EXAMPLE = Path(__file__).parents[1] / "examples" / "fashion_mnist"
ENCODER = EXAMPLE.parent / "quantized_transformer"


def test_example_data_do_not_overlap() -> None:
    calib = {path.read_bytes() for path in (EXAMPLE / "calib").iterdir()}
    held_out = [path.read_bytes() for path in (EXAMPLE / "eval").rglob("*.png")]
    assert (len(calib), len(held_out)) == (128, 500)
    assert not calib & set(held_out)


def test_fashion_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The reported accuracy is that of the file in LiteRT on images read and normalized here; the others' are near."""
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("coremltools")
    from ai_edge_litert.interpreter import Interpreter

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert run(["export", "--config", str(EXAMPLE / "edgeport.toml"), "--out", "out", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    top1, *others = (
        metric
        for target in body["result"]["report"]["targets"]
        for metric in target["ladder"]["metrics"]
        if metric["name"] == "top1"
    )

    interpreter = Interpreter(body["result"]["artifacts"]["tflite"], num_threads=1)
    runner = interpreter.get_signature_runner()
    details = runner.get_input_details()["input"]
    right = total = 0
    for label, folder in enumerate(sorted((EXAMPLE / "eval").iterdir())):
        for path in sorted(folder.iterdir()):
            pixels = np.asarray(Image.open(path).convert("L"), np.float32)
            x = ((pixels / 255 - np.float32(0.286)) / np.float32(0.353)).reshape(details["shape"])
            (logits,) = runner(input=x).values()
            right += int(np.asarray(logits).argmax() == label)
            total += 1
    # Pixels divided by 255 here, multiplied by 1/255 there: one float32 step may tip one image of 500.
    assert abs(top1["values"]["artifact"] - right / total) <= 1 / 500
    assert right / total >= 0.92  # float 0.932 less the budget of 0.01, less the same image
    assert top1["values"]["source"] == pytest.approx(0.932, abs=1 / 500)
    assert len(others) == 3
    for other in others:  # the same weights in integers, with other numbers between them
        assert other["values"]["artifact"] >= 0.92
    folder = Path(body["result"]["artifacts"]["tensorrt"]).parent
    assert {"build.sh", "verify.py", "bundle.json", "calibration.cache", "golden"} <= {p.name for p in folder.iterdir()}


def test_quantized_transformer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The printed accuracy is that of the file in torch's lite interpreter, the printed size the file's."""
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(ENCODER))
    monkeypatch.setattr("sys.argv", ["quantize.py", "--steps", "15"])
    names = runpy.run_path(str(ENCODER / "quantize.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "fused: 4 Attention, 9 LayerNormalization, 4 Gelu, 17 MatMul + bias" in printed
    line = r"^%s +(0\.\d+) +(?:(\d+\.\d) dB)? +([\d,]+)$"
    rows = {
        name: re.search(line % re.escape(name), printed, re.MULTILINE)
        for name in ("float32", "int8", "int8, fine-tuned")
    }
    figures = {name: row.groups() for name, row in rows.items() if row is not None}
    assert len(figures) == 3
    assert float(figures["float32"][0]) == pytest.approx(0.898, abs=1 / 500)
    float_size = int(figures["float32"][2].replace(",", ""))
    for name, folder in (("int8", "calibrated"), ("int8, fine-tuned", "fine-tuned")):
        top1, sqnr, size = figures[name]
        path = tmp_path / "out" / folder / "qnnpack" / "encoder.ptl"
        assert path.stat().st_size == int(size.replace(",", "")) < 0.35 * float_size
        assert float(sqnr) > 33
        assert float(top1) >= 0.888  # a point less than in float

    from torch.jit.mobile import _load_for_lite_interpreter

    files = sorted((EXAMPLE / "eval").rglob("*.png"))
    classes = sorted({file.parent.name for file in files})
    engine = torch.backends.quantized.engine
    torch.backends.quantized.engine = "qnnpack"
    try:
        module = _load_for_lite_interpreter(str(tmp_path / "out" / "calibrated" / "qnnpack" / "encoder.ptl"))
        results = [module(image[None])[0].argmax() for image in names["read_images"](files)]
    finally:
        torch.backends.quantized.engine = engine
    right = sum(int(r) == classes.index(f.parent.name) for r, f in zip(results, files, strict=True))
    # Desktop torch rounds floats to integers in another way than phones do, which the printed figure is of.
    assert right / len(files) == pytest.approx(float(figures["int8"][0]), abs=3 / 500)
