"""Statistics that weight compression can use but does not need: collected with data, kept, and done without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeport import api
from edgeport.cli.main import run
from edgeport.errors import UsageError

pytest.importorskip("coremltools", reason="palettes are Core ML's")
GIVEN = {"target": "coreml", "precision": "palettized-4", "validate": False}


def reasons(result: object) -> set[str]:
    plan = result.report["targets"][0]["plan"]
    assert "palettized" in plan["kernels"]
    return {t["reason"] for t in plan["tensors"]}


def package(out: Path) -> bytes:
    return next((out / "coreml").rglob("weight.bin")).read_bytes()


def test_a_statistics_file_gives_the_same_palettes_as_the_data(cnn: Path, images: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, image=np.load(images)["image"][:4])
    whole = {"calib": images, "data": data, "out": tmp_path / "a"}  # with data of its own, nothing is held out
    seen = api.export(cnn, **GIVEN, **whole)
    assert all("weighted by the power" in reason for reason in reasons(seen))
    file = tmp_path / "statistics.safetensors"
    facts = api.calibrate(cnn, calib=images, out=file, target="coreml", precision="palettized-4").facts
    assert facts["tensors"] == 4, "the inputs of three convolutions and a product"
    kept = api.export(cnn, **GIVEN, statistics=file, out=tmp_path / "b")
    assert reasons(kept) == reasons(seen)
    assert package(tmp_path / "a") == package(tmp_path / "b")
    blind = api.export(cnn, **GIVEN, out=tmp_path / "c")
    assert not any("weighted" in reason for reason in reasons(blind))
    assert package(tmp_path / "c") != package(tmp_path / "a")


def test_statistics_of_another_precision_serve_without_importance(cnn: Path, images: Path, tmp_path: Path) -> None:
    file = tmp_path / "statistics.safetensors"
    api.calibrate(cnn, calib=images, out=file, target="coreml", precision="int8")
    result = api.export(cnn, **GIVEN, statistics=file, out=tmp_path / "out")
    assert [f.code for f in result.findings if f.code == "no-importance"] == ["no-importance"]
    assert not any("weighted" in reason for reason in reasons(result))


def test_a_layer_alone_can_ask_for_statistics(cnn: Path, images: Path, tmp_path: Path) -> None:
    given = {"calib": images, "out": tmp_path / "s.safetensors", "target": "coreml", "precision": "int8-weights"}
    with pytest.raises(UsageError, match="needs no statistics"):
        api.calibrate(cnn, **given)
    assert api.calibrate(cnn, **given, layer_precision=["logits=palettized-4"]).facts["tensors"] == 1


def test_the_command_line_shows_palettes_in_the_plan(
    cnn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--precision", "palettized-4", "--group-size", "8", "--layer-precision", "logits=int8-weights"]
    assert run(["export", str(cnn), "--target", "coreml", *flags, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["result"]["report"]["targets"][0]["plan"]
    assert plan["kernels"]["int8-weights"] == 2, "the product and its bias"
    rows = {row["name"]: row for row in plan["tensors"]}
    assert rows["w3"] | {"reason": ""} == {
        "name": "w3",
        "role": "weight",
        "dtype": "palette4",
        "palettes": 2,  # of 8 channels each
        "axis": 0,
        "reason": "",
    }
    assert run(["export", str(cnn), "--target", "coreml", *flags, "--dry-run"]) == 0
    assert "palette4" in capsys.readouterr().out


def test_a_file_that_is_no_smaller_for_it_says_so(cnn: Path, tmp_path: Path) -> None:
    given = {**GIVEN, "precision": "sparse"}
    said = [f.message for f in api.export(cnn, **given, out=tmp_path / "a").findings if f.code == "nothing-compressed"]
    assert len(said) == 1
    assert "see --sparsity" in said[0]
    assert "\n" not in said[0]
    cut = api.export(cnn, **given, sparsity=0.6, out=tmp_path / "b")
    assert "nothing-compressed" not in {f.code for f in cut.findings}
    assert len(package(tmp_path / "b")) < 0.9 * len(package(tmp_path / "a"))
