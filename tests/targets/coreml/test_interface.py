"""What an app sees: names, types, and the systems that take a package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edge_models import canonical, conv_net, lowered, parsed

from edgeport.errors import UsageError
from edgeport.quantize.compression import Palette
from edgeport.quantize.plan import Plan, TensorPlan
from edgeport.targets.contract import facts_of
from edgeport.targets.coreml.deployment import deployment, deployment_of
from edgeport.targets.coreml.evaluator.package import open_package
from edgeport.targets.coreml.interface import End, remarks
from edgeport.targets.coreml.target import COREML
from edgeport.targets.registry import load_profile, profile_names
from edgeport.validate.onnx_runner import OnnxRunner

DEVICES = [load_profile(name) for name in profile_names() if load_profile(name).target == "coreml"]
SPECIFICATIONS = {"15": 6, "16": 7, "17": 8, "18": 9, "26": 10}
"""iOS version -> version of the model format (Model.proto of coremltools 9.0)."""
MACS = {"13": "16", "14": "17", "15": "18", "26": "26"}


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_every_device_gets_a_package_of_its_system(device, tmp_path: Path) -> None:
    name = device.name.rpartition("-")[2]
    version = name.removeprefix("ios") if name.startswith("ios") else MACS[name.removeprefix("macos")]
    halves = "float16" in device.facts["io-dtypes"]
    graph = canonical(conv_net())
    shown = {"device": facts_of(device), "io_dtype": "float16" if halves else "source"}
    artifact = lowered(graph, tmp_path, Plan("fp16"), **shown)
    package = open_package(artifact.path)
    assert package.specification == SPECIFICATIONS[version]
    (function,) = package.interfaces.values()
    ends = [feature.type.dtype for feature in (*function.inputs, *function.outputs)]
    assert ends == (["fp16", "fp16"] if halves else ["fp32", "fp32"])
    sample = {"image": np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)}
    got = COREML.runner(artifact, graph).run(sample)["scores"]
    # 11 bits a number, sums of a hundred products of about 5; float32 in the accumulator
    np.testing.assert_allclose(got, OnnxRunner(graph).run(sample)["scores"], atol=0.05)
    for precision in (p for p in device.facts["precisions"] if p in COREML.precisions):
        assert deployment(precision, facts_of(device)) == device.facts["deployment"]


def test_what_a_precision_needs_raises_the_system_or_is_refused() -> None:
    assert [deployment(p, {}) for p in ("fp16", "int8", "int8-weights", "int4-weights")] == ["iOS18"] * 4
    palette = Palette(np.zeros((2, 4), np.float32), 2, 0)
    grouped = Plan("palettes", {"w": TensorPlan("w", "weight", None, "", palette)})
    assert deployment_of(grouped) == "iOS18"
    with pytest.raises(UsageError, match="needs iOS18 or macOS15, and --profile old is a device with iOS17"):
        deployment("int4-weights", {"name": "old", "deployment": "iOS17"})
    with pytest.raises(UsageError, match="--io-dtype float16 needs iOS16"):
        deployment_of(Plan("fp16", io_dtype="float16", device={"name": "old", "deployment": "macOS12"}))
    with pytest.raises(UsageError, match="--layer-precision int8 needs iOS17"):
        deployment_of(Plan("fp16", layers={"conv": "int8"}, device={"name": "old", "deployment": "iOS16"}))
    with pytest.raises(UsageError, match="--precision int8 needs iOS17"):
        COREML.scheme("int8", load_profile("iphone-12-ios15"))


def test_new_names_and_narrower_integers_are_said(tmp_path: Path) -> None:
    model = parsed("net (int64[3] ids, float[3] x) => (float[3] y, int64[3] back) { y = Relu(x) back = Abs(ids) }")
    for value, name in zip(model.graph.input, ("token ids:0", "in_1"), strict=True):
        for node in model.graph.node:
            node.input[:] = [name if i == value.name else i for i in node.input]
        value.name = name
    graph = canonical(model)
    artifact = lowered(graph, tmp_path, Plan("fp32"))
    assert artifact.facts["renamed"] == {"token ids:0": "token_ids_0"}
    assert [(f.severity, f.code) for f in artifact.findings] == [("info", "renamed"), ("info", "other-dtype")]
    assert artifact.findings[1].message.startswith("input 'token ids:0', output 'back' are int32 in the package")
    assert artifact.dtypes == {"token ids:0": "int32", "back": "int32"}
    sample = {"token ids:0": np.array([-3, 0, 2**31 - 1]), "in_1": np.array([-1, 0, 2], np.float32)}
    got = COREML.runner(artifact, graph).run(sample)
    np.testing.assert_array_equal(got["back"], np.abs(sample["token ids:0"]))
    assert got["back"].dtype == np.int64
    with pytest.raises(UsageError, match="beyond int32"):
        COREML.runner(artifact, graph).run(sample | {"token ids:0": np.array([2**31, 0, 0])})
    other = canonical(parsed("net (float[3] z) => (float[3] y) { y = Relu(z) }"))
    with pytest.raises(UsageError, match="the model has input 'z', net.mlpackage takes"):
        COREML.runner(artifact, other).run({"z": sample["in_1"]})


def test_many_ends_are_named_in_few_words() -> None:
    ends = [End("input", f"layers.{i}:0", f"layers_{i}_0", "int64", "int32", (1,)) for i in range(9)]
    renamed, narrower = (finding.message for finding in remarks(ends))
    assert renamed.endswith("input 'layers.2:0' is 'layers_2_0' and 6 more")
    assert narrower.endswith("input 'layers.2:0' and 6 more are int32 in the package, int64 in the source")


def test_float16_at_the_ends_of_the_source_stays(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float16)
    graph = canonical(parsed("net (float16[1,4] x) => (float16[1,8] y) { a = MatMul(x, w) y = Relu(a) }", w=weight))
    artifact = lowered(graph, tmp_path, Plan("fp16"))
    assert [end["dtype"] for kind in ("inputs", "outputs") for end in artifact.facts[kind]] == ["float16"] * 2
    assert artifact.dtypes == {}
    x = np.random.default_rng(1).normal(size=(1, 4)).astype(np.float16)
    got = COREML.runner(artifact, graph).run({"x": x})["y"]
    want = np.maximum(x.astype(np.float64) @ weight.astype(np.float64), 0)
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, want, atol=4e-3)  # one rounding of numbers up to 4
