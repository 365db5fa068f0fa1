"""A report with everything in it: several outputs, every kind of rung, budgets, a plan and hostile names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeport.findings import Finding
from edgeport.quantize.plan import NodePlan, Plan, QParams, TensorPlan
from edgeport.report.contents import ArtifactFile, ExportReport, TargetReport
from edgeport.sample import Array, InputSpec, Sample
from edgeport.validate.budgets import judge, parse_budget
from edgeport.validate.ladder import measure_ladder
from edgeport.validate.rungs import Ladder
from edgeport.validate.runner import Verdict

HOSTILE = '<img src=x onerror="alert(1)">\'"&{{ 7*7 }}'


class Noisy:
    """The identity of 10 classes plus noise, with a second, integer output."""

    verdict: Verdict = "measured"
    inputs = (InputSpec("x", "float32", (1, 10)),)
    outputs = ("logits", HOSTILE)

    def __init__(self, sigma: float, *, nan: bool = False) -> None:
        self._sigma, self._nan = sigma, nan

    def run(self, sample: Sample) -> dict[str, Array]:
        x = sample["x"]
        noise = np.random.default_rng(abs(int(x.sum() * 1e4))).normal(0, 1, x.shape) * self._sigma
        y = (x + noise).astype(np.float32)
        if self._nan:
            y[0, 0] = np.nan
        return {"logits": y, HOSTILE: y.argmax(-1)}

    def intermediates(self, sample: Sample, names: object) -> dict[str, Array]:
        return {}


def make_ladder(*, integer: bool = True, nan: bool = False, count: int = 64) -> Ladder:
    rng = np.random.default_rng(0)
    samples = [{"x": rng.normal(0, 2, (1, 10)).astype(np.float32)} for _ in range(count)]
    source, artifact = Noisy(0), Noisy(0.15 if integer else 1e-6, nan=nan)
    return measure_ladder(
        samples,
        source=source,
        canonical=Noisy(1e-6),
        float_artifact=Noisy(2e-6) if integer else None,
        quantized=Noisy(0.14) if integer else None,
        artifact=artifact,
        labels=[int(s["x"].argmax()) for s in samples],
    )


def make_plan(nodes: int = 40) -> Plan:
    per_tensor = QParams("int8", np.float32(0.0235), np.int32(-128))
    per_channel = QParams(
        "int8", np.linspace(0.001, 0.02, 16, dtype=np.float32), np.zeros(16, np.int32), 0, narrow=True
    )
    tensors = {HOSTILE: TensorPlan(HOSTILE, "activation", None, "float: " + HOSTILE)}
    node_plans = {HOSTILE: NodePlan(HOSTILE, "Softmax", "float32", "no integer kernel for this axis")}
    for i in range(nodes):
        name = f"/features/block.{i}/conv/Conv"
        node_plans[name] = NodePlan(name, "Conv", "int8", "anchor: convolution with constant weights")
        tensors[f"{name}_output_0"] = TensorPlan(f"{name}_output_0", "activation", per_tensor, "range from entropy")
        tensors[f"features.{i}.weight"] = TensorPlan(f"features.{i}.weight", "weight", per_channel, "weights of a Conv")
    for i in range(6):
        name = f"/features/block.{i}/attn/MatMul"
        node_plans[name] = NodePlan(name, "MatMul", "float32", "both inputs are activations")
    return Plan("int8", tensors, node_plans)


def make_report() -> ExportReport:
    ladder = make_ladder()
    budgets, findings = judge(
        [parse_budget(t) for t in ("sqnr>=15", "logits.cosine>=0.9999", "top1_drop<=0.03")], ladder
    )
    tflite = TargetReport(
        "tflite",
        "int8",
        "over-budget",
        "measured",
        (
            ArtifactFile(
                "tflite/fmnist.tflite", 84_312, "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
            ),
            ArtifactFile(
                "tflite/golden/golden.safetensors",
                13_000,
                "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
            ),
        ),
        {"operators": {"CONV_2D": 12, "SOFTMAX": 1}, "transposes": 0},
        make_plan(),
        ladder,
        budgets,
        findings,
    )
    fp16 = TargetReport("tflite-fp16", "fp16", "ok", "measured", (), {}, None, make_ladder(integer=False))
    skipped = TargetReport(
        "coreml",
        "int8",
        "skipped",
        findings=(
            Finding(
                "warning", "toolchain-missing", "coremltools is not installed", hint="pip install edgeport[coreml]"
            ),
        ),
    )
    return ExportReport(
        "fmnist_ds " + HOSTILE,
        {"name": "fmnist_ds.onnx", "format": "onnx", "sha256": "e3b0c44298fc1c14", "bytes": 240_123},
        "int8",
        {"calib": Path("/home/someone/secret/calib.npz"), "ranges": "entropy", "budget": ["sqnr>=15"], "seed": 0},
        {"samples": 112, "held_out": 16, "digest": "abcdef", "ranges": "entropy", "constant_share": 0.0},
        (tflite, fp16, skipped),
        (Finding("info", "opset-raised", "opset 11 was converted to 21", node=HOSTILE, op="Pad"),),
    )
