"""Every command from the command line to files and exit codes, on the model of examples/."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeport.cli.main import run

EXAMPLE = Path(__file__).parents[2] / "examples" / "fashion_mnist"
MODEL = str(EXAMPLE / "fmnist_ds.onnx")
EXPORT = (sys.executable, "-m", "edgeport", "export", MODEL)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in an empty folder, so that nothing is found by chance."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def calib(tmp_path_factory: pytest.TempPathFactory) -> str:
    """48 calibration images as the model takes them, so that no configuration is needed."""
    images = [np.asarray(Image.open(path), np.float32) for path in sorted((EXAMPLE / "calib").iterdir())[:48]]
    path = tmp_path_factory.mktemp("data") / "calib.npz"
    np.savez(path, input=(np.stack(images)[:, None] / 255 - np.float32(0.286)) / np.float32(0.353))
    return str(path)


@pytest.fixture(scope="module")
def exported(calib: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "out"
    assert run(["export", MODEL, "--calib", calib, "--out", str(out), "--no-cache", "--quiet"]) == 0
    return out


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def outcome(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and envelope."""
    code = run([*arguments, "--json"])
    body: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert body["ok"] is (code == 0)
    assert (body["error"] or {"exit_code": 0})["exit_code"] == code
    assert body["command"] == arguments[0]
    return code, body


def test_export_writes_the_documented_files(exported: Path) -> None:
    files = set(hashes(exported))
    assert {"manifest.json", "report.json", "report.html", "statistics.safetensors", "tflite/fmnist_ds.tflite"} <= files
    (target,) = json.loads((exported / "report.json").read_text())["targets"]
    rungs = {rung["name"]: rung for rung in target["ladder"]["rungs"]}
    assert {"capture", "lowering", "quantization", "kernels"} <= set(rungs)
    assert all(rungs[name]["reason"] is None for name in rungs)


def test_export_again_gives_the_same_bytes_and_the_table(
    exported: Path, calib: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", MODEL, "--calib", calib, "--out", "again"]) == 0
    assert hashes(Path("again")) == hashes(exported)
    shown = capsys.readouterr().out
    for word in ("capture", "lowering", "quantization", "kernels", "measured", str(Path("again") / "report.html")):
        assert word in shown
    assert "\x1b[" not in shown


def test_over_budget_exits_4_shows_the_drift_and_leaves_the_old_output(
    exported: Path, calib: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", MODEL, "--calib", calib, "--out", "out", "--quiet"]) == 0
    before = hashes(Path("out"))
    capsys.readouterr()
    assert run(["export", MODEL, "--calib", calib, "--out", "out", "--budget", "sqnr>=80"]) == 4
    captured = capsys.readouterr()
    assert "sqnr>=80" in captured.err.splitlines()[0]
    assert "quantization" in captured.out
    assert hashes(Path("out")) == before

    code, body = outcome(capsys, "export", MODEL, "--calib", calib, "--out", "out", "--budget", "sqnr>=80")
    assert code == 4
    assert body["error"]["type"] == "BudgetError"
    assert body["result"]["report"]["targets"][0]["status"] == "over-budget"
    assert hashes(Path("out")) == before


@pytest.mark.parametrize(
    ("flags", "code", "expected"),
    [
        (["--precision", "in8"], 2, "'int8'"),
        (["--target", "tflit"], 2, "'tflite'"),
        (["--ranges", "minmax"], 2, "'min-max'"),
        (["--profile", "pixel8"], 2, "'pixel-8'"),
        (["--budget", "sqnr=25"], 2, "sqnr=25"),
        (["--budget", "sqrn>=25"], 2, "'sqnr'"),
        (["--input", "input[1,1,28,28]"], 2, "NAME:DTYPE[SHAPE]"),
        (["--passes-drop", "fold_batchnorm"], 2, "'fold_batch_norm'"),
        (["--metric", "none.py:f"], 2, "none.py"),
        (["--config", "none.toml"], 2, "none.toml"),
        (["--calib", "nowhere"], 6, "nowhere"),
        (["--statistics", "none.safetensors"], 2, "--data"),
    ],
)
def test_refused_values_name_the_flag_in_one_line(
    flags: list[str], code: int, expected: str, calib: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", MODEL, "--out", "out", *([] if "--calib" in flags else ["--calib", calib]), *flags]
    assert run(arguments) == code
    captured = capsys.readouterr()
    assert expected in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""
    assert not Path("out").exists()


def test_int8_without_data_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", MODEL, "--out", "out"]) == 2
    assert "--calib" in capsys.readouterr().err


def test_precisions_without_data_export(capsys: pytest.CaptureFixture[str]) -> None:
    code, body = outcome(capsys, "export", MODEL, "--precision", "fp32", "--out", "out")
    assert code == 0
    assert [finding["code"] for finding in body["findings"] if finding["severity"] == "warning"] == ["made-up-samples"]


@pytest.mark.parametrize(("source", "code"), [("half.onnx", 3), ("none.onnx", 2)])
def test_unreadable_model(source: str, code: int, calib: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("half.onnx").write_bytes(Path(MODEL).read_bytes()[:100_000])
    found, body = outcome(capsys, "export", source, "--calib", calib, "--out", "out")
    assert found == code
    assert source in body["error"]["message"]
    assert not Path("out").exists()


def test_missing_toolchain_exits_5_with_the_pip_line(calib: str) -> None:
    blocked = "import sys; sys.modules['ai_edge_litert'] = None; from edgeport.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", blocked, "export", MODEL, "--calib", calib, "--out", "out"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 5
    assert "pip install 'edgeport[tflite]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_interrupt_in_the_middle_exits_130_and_leaves_nothing(calib: str) -> None:
    Path("stop.py").write_text(
        "import os, signal\n\ndef metric(sample, outputs):\n    os.kill(os.getpid(), signal.SIGINT)\n    return 0.0\n"
    )
    done = subprocess.run(
        [*EXPORT, "--calib", calib, "--out", "out", "--metric", "stop.py:metric"],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(Path("cache").resolve())},
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "edgeport: interrupted"
    assert {path.name for path in Path().iterdir()} <= {"stop.py", "cache", "__pycache__"}


def test_output_of_user_code_does_not_reach_stdout(calib: str) -> None:
    Path("talk.py").write_text("def metric(sample, outputs):\n    print('chatter')\n    return 1.0\n")
    done = subprocess.run(
        [*EXPORT, "--calib", calib, "--out", "out", "--metric", "talk.py:metric", "--json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] is True
    assert "chatter" in done.stderr


def test_dry_run_prints_the_plan_and_writes_nothing(calib: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", MODEL, "--calib", calib, "--dry-run", "--no-cache"]) == 0
    shown = capsys.readouterr().out
    assert "logits" in shown
    assert "int8" in shown
    assert not list(Path().iterdir())


def test_a_target_that_fails_shows_no_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Found out when the plan is there: groups of channels need a newer system than the device has."""
    words = ["--target", "coreml", "--precision", "palettized-4", "--group-size", "1", "--profile", "iphone-13-ios16"]
    assert run(["export", MODEL, *words, "--no-cache", "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert "needs iOS18" in captured.err
    assert "Plan (" not in captured.out


def test_config_file_of_the_folder_is_used_and_flags_beat_it(calib: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("edgeport.toml").write_text(f'source = "{MODEL}"\ncalib = "{calib}"\nout = "from-file"\nprecision = "fp16"\n')
    assert run(["export", "--precision", "int8"]) == 0
    captured = capsys.readouterr()
    assert "using ./edgeport.toml" in captured.err
    assert json.loads(Path("from-file/report.json").read_text())["precision"] == "int8"


def test_missing_statistics_exit_6(calib: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, body = outcome(capsys, "export", MODEL, "--statistics", "none.safetensors", "--data", calib, "--out", "out")
    assert code == 6
    assert "none.safetensors" in body["error"]["message"]


def test_statistics_of_calibrate_serve_export(calib: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, body = outcome(capsys, "calibrate", MODEL, "--calib", calib, "--out", "s.safetensors")
    assert code == 0
    assert Path(body["result"]["statistics"]) == Path("s.safetensors")
    assert body["result"]["samples"] == 48
    code, body = outcome(
        capsys, "export", MODEL, "--statistics", "s.safetensors", "--data", calib, "--budget", "sqnr>=10", "--out", "o"
    )
    assert code == 0
    assert Path("o/statistics.safetensors").read_bytes() == Path("s.safetensors").read_bytes()


def test_calibrate_shows_where_the_file_is(calib: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calibrate", MODEL, "--calib", calib, "--out", "s.safetensors"]) == 0
    assert "s.safetensors" in capsys.readouterr().out


def test_validate_runs_an_existing_artifact(exported: Path, calib: str, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = str(exported / "tflite" / "fmnist_ds.tflite")
    assert run(["validate", artifact, MODEL, "--data", calib]) == 0
    assert "logits" in capsys.readouterr().out
    code, body = outcome(capsys, "validate", artifact, MODEL, "--data", calib, "--budget", "sqnr>=10")
    assert code == 0
    (judged,) = body["result"]["budgets"]
    assert judged["passed"] is True
    assert body["result"]["verdict"] == "measured"
    code, body = outcome(capsys, "validate", artifact, MODEL, "--data", calib, "--budget", "sqnr>=80")
    assert code == 4
    assert body["result"]["budgets"][0]["value"] == judged["value"]


def test_validate_needs_an_artifact(calib: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "none.tflite", MODEL, "--data", calib]) == 2
    assert "none.tflite" in capsys.readouterr().err


def test_inspect_counts_what_onnx_counts(capsys: pytest.CaptureFixture[str]) -> None:
    import onnx

    model = onnx.load(MODEL)
    code, body = outcome(capsys, "inspect", MODEL)
    assert code == 0
    counted: dict[str, int] = {}
    for node in model.graph.node:
        counted[node.op_type] = counted.get(node.op_type, 0) + 1
    assert body["result"]["operators"]["source"] == counted
    assert body["result"]["inputs"] == ["input:float32[1,1,28,28]"]
    assert body["result"]["targets"]["tflite"]["convertible"] is True

    assert run(["inspect", MODEL]) == 0
    shown = capsys.readouterr().out
    assert "input:float32[1,1,28,28]" in shown
    assert "Conv" in shown
