"""The whole way through the Python interface, on a small CNN."""

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from safetensors.numpy import load_file
from small_models import small_cnn, smooth_images

from edgeport import api
from edgeport.emission import refuse_defects
from edgeport.errors import BudgetError, CalibrationError, ModelError, UsageError
from edgeport.validate.metrics import OutputDrift
from edgeport.validate.rungs import Blame, Ladder, Rung


def digests(folder: Path) -> dict[str, str]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def rung(report: dict, name: str) -> dict:
    return next(r for r in report["targets"][0]["ladder"]["rungs"] if r["name"] == name)["outputs"][0]


def decibels(report: dict, name: str) -> float:
    output = rung(report, name)
    return math.inf if output["identical"] else output["sqnr_db"]


def test_int8_export_is_proven_and_says_what_it_did(cnn: Path, images: Path, tmp_path: Path) -> None:
    result = api.export(cnn, calib=images, out=tmp_path / "out")
    names = set(digests(tmp_path / "out"))
    assert names == {
        "manifest.json",
        "report.html",
        "report.json",
        "statistics.safetensors",
        "tflite/golden/golden.safetensors",
        "tflite/golden/golden.sha256",
        "tflite/small_cnn.tflite",
    }
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert {f["path"]: f["sha256"] for f in manifest["files"]} == {
        n: d for n, d in digests(tmp_path / "out").items() if n != "manifest.json"
    }
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report == result.report
    target = report["targets"][0]
    assert target["verdict"] == "measured"
    assert [r["name"] for r in target["ladder"]["rungs"]] == ["capture", "lowering", "quantization", "kernels", "total"]
    assert decibels(report, "capture") > 100  # float32 rounding
    assert decibels(report, "lowering") > 100  # float32 rounding
    assert decibels(report, "quantization") > 25  # 8 bits, four layers of random weights
    assert decibels(report, "kernels") > 30  # single steps of 8-bit outputs
    assert {n["kernel"] for n in target["plan"]["nodes"]} == {"int8"}


def test_file_agrees_with_the_source_in_an_interpreter_of_our_own(cnn: Path, images: Path, tmp_path: Path) -> None:
    """Independent of edgeport's runners: LiteRT and ONNX Runtime called directly."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    result = api.export(cnn, calib=images, out=tmp_path / "out")
    interpreter = litert.Interpreter(str(result.artifacts["tflite"]))
    signature = interpreter.get_signature_runner("serving_default")
    session = ort.InferenceSession(small_cnn().SerializeToString(), providers=["CPUExecutionProvider"])
    signal_power = noise = 0.0
    for x in smooth_images(16, 3, 16, seed=5):
        want = session.run(None, {"image": x[None]})[0]
        got = signature(image=x[None])["logits"]
        signal_power += float((want**2).sum())
        noise += float(((want - got) ** 2).sum())
    assert 10 * np.log10(signal_power / noise) > 25  # the drift the report states for this model, with other samples


def test_nhwc_input_is_the_same_network_with_channels_last(cnn: Path, images: Path, tmp_path: Path) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    source = api.export(cnn, calib=images, out=tmp_path / "source")
    nhwc = api.export(cnn, calib=images, out=tmp_path / "nhwc", input_layout="nhwc")
    assert source.report["targets"][0]["facts"]["transposes"] == 1
    assert nhwc.report["targets"][0]["facts"]["transposes"] == 0
    assert decibels(nhwc.report, "total") == decibels(source.report, "total")
    runners = [
        litert.Interpreter(str(r.artifacts["tflite"])).get_signature_runner("serving_default") for r in (source, nhwc)
    ]
    for x in smooth_images(4, 3, 16, seed=2):
        got = runners[1](image=np.ascontiguousarray(x.transpose(1, 2, 0))[None])["logits"]
        assert np.array_equal(got, runners[0](image=x[None])["logits"])
    golden = load_file(tmp_path / "nhwc/tflite/golden/golden.safetensors")
    assert np.array_equal(runners[1](image=golden["input/0/image"])["logits"], golden["output/0/logits"])
    api.validate(nhwc.artifacts["tflite"], cnn, data=images, budget=["sqnr>=20"])


def test_integer_ends_labels_and_what_the_golden_samples_hold(cnn: Path, images: Path, tmp_path: Path) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    source = api.export(cnn, calib=images, out=tmp_path / "source")
    labels = tmp_path / "labels.txt"
    classes = source.report["targets"][0]["facts"]["outputs"][0]["shape"][-1]
    labels.write_text("".join(f"class {i}\n" for i in range(classes)))
    result = api.export(cnn, calib=images, out=tmp_path / "out", io_dtype="int8", labels=labels)
    facts = result.report["targets"][0]["facts"]
    assert [end["dtype"] for end in (*facts["inputs"], *facts["outputs"])] == ["int8", "int8"]
    assert result.report["options"]["io_dtype"] == "int8"
    assert result.report["options"]["labels"] == "labels.txt"
    # Inputs are rounded before the file instead of inside it; a tie may fall the other way.
    assert decibels(result.report, "total") == pytest.approx(decibels(source.report, "total"), abs=0.5)
    runner = litert.Interpreter(str(result.artifacts["tflite"])).get_signature_runner("serving_default")
    golden = load_file(tmp_path / "out/tflite/golden/golden.safetensors")
    assert golden["input/0/image"].dtype == np.int8
    assert np.array_equal(runner(image=golden["input/0/image"])["logits"], golden["output/0/logits"])
    assert golden["reference/0/logits"].dtype == np.float32
    api.validate(result.artifacts["tflite"], cnn, data=images, budget=["sqnr>=20"])


def test_same_input_same_bytes(cnn: Path, images: Path, tmp_path: Path) -> None:
    api.export(cnn, calib=images, out=tmp_path / "one")
    (tmp_path / "elsewhere").mkdir()
    api.export(
        cnn.rename(tmp_path / "elsewhere/small_cnn.onnx"), calib=images, out=tmp_path / "elsewhere/two", cache=False
    )
    assert digests(tmp_path / "one") == digests(tmp_path / "elsewhere/two")


@pytest.mark.parametrize(
    ("precision", "least"), [("fp32", 100), ("fp16", 55), ("int8-weights", 30), ("int8-dynamic", 30)]
)
def test_precisions_without_data(cnn: Path, tmp_path: Path, precision: str, least: float) -> None:
    result = api.export(cnn, precision=precision, out=tmp_path / "out")
    assert decibels(result.report, "total") > least  # 24, 11 and 8 bits of mantissa
    assert [f.code for f in result.findings if f.severity == "warning"] == ["made-up-samples"]


def test_over_budget_keeps_the_old_folder_and_tells_the_drift(cnn: Path, images: Path, tmp_path: Path) -> None:
    api.export(cnn, calib=images, out=tmp_path / "out", budget=["sqnr>=20"])
    before = digests(tmp_path / "out")
    with pytest.raises(BudgetError, match="target tflite is over budget: sqnr>=80 measured") as caught:
        api.export(cnn, calib=images, out=tmp_path / "out", budget=["sqnr>=80"])
    assert digests(tmp_path / "out") == before
    assert [p.name for p in tmp_path.glob(".out*")] == []
    target = caught.value.result.report["targets"][0]
    assert target["status"] == "over-budget"
    assert target["ladder"] is not None


def test_labelled_data_gives_top1_and_its_drop(cnn: Path, images: Path, tmp_path: Path) -> None:
    x = smooth_images(40, 3, 16, seed=9)
    session = ort.InferenceSession(small_cnn().SerializeToString(), providers=["CPUExecutionProvider"])
    y = session.run(None, {"image": x})[0].argmax(1)
    y[:4] = (y[:4] + 1) % 10
    np.savez(tmp_path / "held.npz", image=x, label=y)
    result = api.export(cnn, calib=images, data=tmp_path / "held.npz", out=tmp_path / "out", budget=["top1_drop<=0.2"])
    top1 = result.report["targets"][0]["ladder"]["metrics"][0]
    assert top1["name"] == "top1"
    assert top1["values"]["source"] == pytest.approx(0.9)


def test_user_metric_runs_on_both(cnn: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "metric.py").write_text(
        "import numpy as np\n"
        "def largest(run):\n"
        "    x = np.linspace(-1, 1, 768, dtype=np.float32).reshape(1, 3, 16, 16)\n"
        "    return {'largest': float(run({'image': x})[0].max())}\n"
    )
    entry = f"{tmp_path / 'metric.py'}:largest"
    result = api.export(cnn, calib=images, out=tmp_path / "out", metric=entry, budget=["largest_drop<=1"])
    metric = result.report["targets"][0]["ladder"]["metrics"][0]
    assert metric["values"]["source"] == pytest.approx(metric["values"]["artifact"], rel=0.1)  # 8 bits
    with pytest.raises(UsageError, match="largest"):
        api.export(cnn, calib=images, out=tmp_path / "out", metric=entry, budget=["largets_drop<=1"])


def test_dry_run_prints_a_plan_and_writes_nothing(cnn: Path, images: Path, tmp_path: Path) -> None:
    result = api.export(cnn, calib=images, out=tmp_path / "out", dry_run=True)
    assert not (tmp_path / "out").exists()
    assert result.artifacts == {}
    tensors = {t["name"]: t for t in result.report["targets"][0]["plan"]["tensors"]}
    assert tensors["image"]["dtype"] == "int8"
    assert "mse" in tensors["image"]["reason"]


def test_statistics_of_an_earlier_run_give_the_same_file(cnn: Path, images: Path, tmp_path: Path) -> None:
    first = api.export(cnn, calib=images, out=tmp_path / "one")
    second = api.export(
        cnn, statistics=tmp_path / "one/statistics.safetensors", data=images, out=tmp_path / "two", ranges="mse"
    )
    assert first.artifacts["tflite"].read_bytes() == second.artifacts["tflite"].read_bytes()
    calibrated = api.calibrate(cnn, calib=images, out=tmp_path / "all.safetensors")
    assert calibrated.facts["samples"] == 48
    assert (tmp_path / "all.safetensors").stat().st_size > 0


def test_an_existing_file_is_validated(cnn: Path, images: Path, tmp_path: Path) -> None:
    artifact = api.export(cnn, calib=images, data=images, out=tmp_path / "out").artifacts["tflite"]
    result = api.validate(artifact, cnn, data=images, budget=["sqnr>=20"])
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert result.facts["outputs"] == [rung(report, "total")]
    with pytest.raises(BudgetError):
        api.validate(artifact, cnn, data=images, budget=["sqnr>=80"])


def test_inspect_counts_operators_before_and_after(cnn: Path) -> None:
    facts = api.inspect(cnn).facts
    assert facts["inputs"] == ["image:float32[1,3,16,16]"]
    assert facts["outputs"] == ["logits:float32[1,10]"]
    assert facts["operators"]["source"]["Gemm"] == 1
    assert "Gemm" not in facts["operators"]["canonical"]
    assert facts["targets"]["tflite"]["convertible"]


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({}, UsageError, "--calib"),
        ({"precision": "int9"}, UsageError, "int8"),
        ({"target": "tflit"}, UsageError, "tflite"),
        ({"ranges": "mze"}, UsageError, "mse"),
        ({"input_layout": "nwhc"}, UsageError, "nhwc"),
        ({"io_dtype": "int4"}, UsageError, "int8"),
        ({"precision": "fp32", "io_dtype": "int16"}, UsageError, "int16x8"),
        ({"precision": "fp16", "block_size": 32}, UsageError, "int4-weights"),
        ({"precision": "int4-weights", "block_size": 48}, UsageError, "64"),
        ({"precision": "fp32", "labels": "missing.txt"}, UsageError, "missing.txt"),
        ({"profile": "pixel-9000"}, UsageError, "pixel-8"),
        ({"budget": ["sqrn>=3"], "precision": "fp32"}, UsageError, "sqnr"),
        ({"inputs": ["imag:float32[1,3,16,16]"], "precision": "fp32"}, UsageError, "image"),
        ({"drop_passes": ["fold_constant"], "precision": "fp32"}, UsageError, "fold_constants"),
        ({"calib": "nowhere.npz"}, CalibrationError, "nowhere.npz"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(cnn, tmp_path, arguments, error, match) -> None:
    with pytest.raises(error, match=match) as caught:
        api.export(cnn, out=tmp_path / "out", **arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_nan_in_the_data_is_refused(cnn: Path, tmp_path: Path, poison: float) -> None:
    x = smooth_images(20, 3, 16)
    x[7, 0, 3, 3] = poison
    np.savez(tmp_path / "bad.npz", image=x)
    with pytest.raises(CalibrationError, match=r"bad.npz.*7"):
        api.export(cnn, calib=tmp_path / "bad.npz", out=tmp_path / "out")


def test_noise_is_refused_unless_insisted_on(cnn: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "noise.npz", image=np.random.default_rng(0).normal(size=(32, 3, 16, 16)).astype(np.float32))
    with pytest.raises(CalibrationError, match="--allow-suspicious-data"):
        api.export(cnn, calib=tmp_path / "noise.npz", out=tmp_path / "out")
    result = api.export(cnn, calib=tmp_path / "noise.npz", out=tmp_path / "out", allow_suspicious_data=True)
    assert any(f.severity == "warning" for f in result.findings)


def test_made_up_samples_hold_no_zero_to_divide_by(tmp_path: Path) -> None:
    graph = "<ir_version: 8, opset_import: ['' : 17]> g (int32[8] x, int32[8] by) => (int32[8] y) { y = Div(x, by) }"
    onnx.save(onnx.parser.parse_model(graph.replace("'", '"')), tmp_path / "quotient.onnx")
    result = api.export(tmp_path / "quotient.onnx", precision="fp32", out=tmp_path / "out")
    assert decibels(result.report, "total") > 100


def test_a_model_that_cannot_be_run_is_refused_as_a_model(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[6] x, int64[1] i) => (float[1] y) {
        beyond = Constant <value = int64[1] {9}> ()
        place = Add(i, beyond)
        y = Gather(x, place)
    }"""
    )
    onnx.save(model, tmp_path / "beyond.onnx")
    with pytest.raises(ModelError, match="cannot be run"):
        api.export(tmp_path / "beyond.onnx", precision="fp32", out=tmp_path / "out")


def test_unsupported_operators_are_all_listed_and_nothing_is_written(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (int64[4] x) => (int64[4] y) {
        a = Pow(x, x)
        b = Add(x, a)
        c = Pow(b, x)
        y = Add(b, c)
    }"""
    )
    onnx.save(model, tmp_path / "power.onnx")
    with pytest.raises(ModelError, match="Pow") as caught:
        api.export(tmp_path / "power.onnx", precision="fp32", out=tmp_path / "out")
    assert [f.op for f in caught.value.findings if f.severity == "error"] == ["Pow", "Pow"]
    assert not (tmp_path / "out").exists()


def test_a_killed_run_leaves_the_old_folder(cnn: Path, images: Path, tmp_path: Path) -> None:
    api.export(cnn, calib=images, out=tmp_path / "out")
    before = digests(tmp_path / "out")
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import pathlib, time\n"
        "def metric(sample, outputs):\n"
        f"    pathlib.Path({str(tmp_path / 'started')!r}).touch()\n"
        "    time.sleep(60)\n"
    )
    code = (
        "from edgeport import api\n"
        f"api.export({str(cnn)!r}, calib={str(images)!r}, out={str(tmp_path / 'out')!r}, "
        f"metric={str(slow) + ':metric'!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ)
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert digests(tmp_path / "out") == before
    api.export(cnn, calib=images, out=tmp_path / "out")
    assert digests(tmp_path / "out") == before
    assert [p.name for p in tmp_path.glob(".out*")] == []


def test_statistics_of_another_model_are_refused(cnn: Path, images: Path, tmp_path: Path) -> None:
    api.calibrate(cnn, calib=images, out=tmp_path / "statistics.safetensors")
    model = small_cnn()
    retrained = onnx.numpy_helper.to_array(model.graph.initializer[0]) * np.float32(1.01)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(retrained, model.graph.initializer[0].name))
    onnx.save(model, cnn)
    with pytest.raises(CalibrationError, match="another model"):
        api.export(cnn, statistics=tmp_path / "statistics.safetensors", data=images, out=tmp_path / "out")


def test_what_was_infinite_in_calibration_stays_float(tmp_path: Path, images: Path) -> None:
    """y = Conv(x + Log(Relu(Conv(x)))): the logarithm of 0 is -inf, and so is the sum that would be glue."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[1,3,16,16] image) => (float[1,3,16,16] y) {
        a = Conv(image, w)
        b = Relu(a)
        c = Log(b)
        d = Add(c, a)
        e = Relu(d)
        y = Conv(e, w)
    }"""
    )
    weight = np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(model, tmp_path / "log.onnx")
    result = api.export(tmp_path / "log.onnx", calib=images, out=tmp_path / "out")
    nodes = {n["name"]: n for n in result.report["targets"][0]["plan"]["nodes"]}
    assert any(n["op"] == "Add" and n["kernel"] == "float32" for n in nodes.values())
    assert decibels(result.report, "total") > 20  # two 8-bit convolutions


def test_a_file_that_computes_something_else_is_refused() -> None:
    """The ladder of a float file with a wrong operator in it."""
    metrics = OutputDrift("y")
    rng = np.random.default_rng(0)
    for _ in range(4):
        reference = rng.normal(size=(1, 8)).astype(np.float32)
        metrics.update(reference, np.abs(reference))
    reasonless = [Rung(name, "canonical", "artifact", (metrics.result(),)) for name in ("capture", "lowering", "total")]
    ladder = Ladder(4, "measured", tuple(reasonless), Blame(""))
    steady, turning = OutputDrift("y"), OutputDrift("y")
    steady.update(reference, reference * np.float32(1 + 1e-5))
    turning.update(reference, reference[:, ::-1])
    with pytest.raises(ModelError, match="'y'"):
        refuse_defects("tflite", ladder, lambda: {"y": steady.result()})
    (finding,) = refuse_defects("tflite", ladder, lambda: {"y": turning.result()})
    assert finding.code == "unstable-output"


def test_fp16_rounds_exactly_what_the_plan_says_and_leaves_what_would_overflow(tmp_path: Path) -> None:
    """A tiny and a huge weight matrix: the file computes what its simulation computes."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[1,4] x) => (float[1,4] y) {
        a = MatMul(x, w)
        y = MatMul(a, v)
    }"""
    )
    rng = np.random.default_rng(0)
    for name, size in (("w", 1.0), ("v", 1e6)):
        weight = (size * rng.normal(size=(4, 4))).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    onnx.save(model, tmp_path / "two.onnx")
    result = api.export(tmp_path / "two.onnx", precision="fp16", out=tmp_path / "out")
    nodes = {n["name"]: n for n in result.report["targets"][0]["plan"]["nodes"]}
    assert sorted(n["kernel"] for n in nodes.values()) == ["float32", "fp16-weights"]
    assert decibels(result.report, "quantization") < 90  # the tiny matrix is rounded to 11 bits ...
    assert decibels(result.report, "kernels") > 110  # ... by both alike: float32 rounding only
