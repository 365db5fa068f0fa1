"""Images as inputs and classes by name: what the package says, and the same numbers as without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from edge_models import canonical, conv_net, lowered, parsed

from edgeport import api
from edgeport.description import Description, ImageInput
from edgeport.errors import UsageError
from edgeport.quantize.plan import Plan
from edgeport.targets.coreml.evaluator.run import Evaluator
from edgeport.targets.coreml.target import COREML

IMAGE = ImageInput("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), (8, 8))
"""ImageNet's, in pixels."""


def pixels(size: int = 8, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (1, channels, size, size)).astype(np.float32)


def normalized(array: np.ndarray, image: ImageInput = IMAGE) -> np.ndarray:
    mean, std = (np.reshape(v, (1, -1, 1, 1)) for v in (image.mean, image.std))
    return ((array - mean) / std).astype(np.float32)


def reference(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return ort.InferenceSession(model.SerializeToString()).run(None, {model.graph.input[0].name: x})[0]


def kinds(path: Path) -> list[str]:
    operations = Evaluator(path)._function.block.operations
    return [operation.kind for operation in operations if operation.kind != "const"]


@pytest.mark.parametrize(
    ("padding", "before"), [(0, []), (1, ["sub"])], ids=["all folded", "padding keeps the subtraction"]
)
def test_normalization_is_in_the_first_convolution(padding: int, before: list[str], tmp_path: Path) -> None:
    model = conv_net(padding)
    graph = canonical(model)
    said = Description({"image": IMAGE})
    artifact = lowered(graph, tmp_path, Plan("fp32"), description=said, image_input=True)
    assert kinds(artifact.path)[: len(before) + 1] == [*before, "conv"]
    evaluator = Evaluator(artifact.path)
    (feature,) = evaluator.features[0]
    assert feature.kind == "image"
    want = reference(model, normalized(pixels()))
    # float32 sums of a hundred products of up to 255; what is subtracted in the end is of the size of the pixels
    got = evaluator.run({"image": pixels()}).outputs["scores"]
    np.testing.assert_allclose(got, want, atol=2e-4)
    # the runner takes what the source takes, and rounds it to pixels
    jitter = np.random.default_rng(5).uniform(-0.4, 0.4, pixels().shape)
    run = COREML.runner(artifact, graph).run({"image": normalized(pixels() + jitter)})
    np.testing.assert_allclose(run["scores"], want, atol=2e-4)


def test_other_layouts_and_colours(tmp_path: Path) -> None:
    last = parsed("net (float[1,6,5,3] x) => (float[1,6,5,3] y) { y = Relu(x) }")
    image = ImageInput("BGR", (10.0, 20.0, 30.0), (2.0, 4.0, 8.0), (5, 6), channels_last=True)
    artifact = lowered(canonical(last), tmp_path, Plan("fp32"), description=Description({"x": image}), image_input=True)
    evaluator = Evaluator(artifact.path)
    assert evaluator.inputs["x"].shape == (1, 3, 6, 5)
    x = np.random.default_rng(1).integers(0, 256, (1, 6, 5, 3)).astype(np.float32)
    want = np.maximum((x - image.mean) / image.std, 0)
    np.testing.assert_allclose(evaluator.run({"x": x.transpose(0, 3, 1, 2)}).outputs["y"], want, rtol=1e-6)
    got = COREML.runner(artifact, canonical(last)).run({"x": ((x - image.mean) / image.std).astype(np.float32)})
    np.testing.assert_allclose(got["y"], want, rtol=1e-6)
    grey = parsed("net (float[2,1,4,4] x) => (float[2,1,4,4] y) { y = Relu(x) }")
    said = Description({"x": ImageInput("GRAY", (0.0,), (255.0,), (4, 4))})
    with pytest.raises(UsageError, match="one float32 image at a time"):
        lowered(canonical(grey), tmp_path, Plan("fp32"), description=said, image_input=True)


@pytest.mark.parametrize("precision", ["fp16", "int8", "int8-weights"])
def test_images_through_the_whole_export(precision: str, tmp_path: Path) -> None:
    onnx.save(conv_net(1), tmp_path / "net.onnx")
    data = np.stack([normalized(np.roll(pixels(), i, 3))[0] for i in range(16)])
    np.savez(tmp_path / "data.npz", image=data)
    table = {"layout": "NCHW", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    common = {"target": "coreml", "precision": precision, "calib": tmp_path / "data.npz", "preprocessing": table}
    plain = api.export(tmp_path / "net.onnx", out=tmp_path / "plain", **common)
    image = api.export(tmp_path / "net.onnx", out=tmp_path / "image", image_input=True, **common)
    figures = []
    for result in (plain, image):
        rungs = result.report["targets"][0]["ladder"]["rungs"]
        figures.append(next(r for r in rungs if r["name"] == "total")["outputs"][0]["sqnr_db"])
    # Pixels of 8 bits are what the data were made of; but float16 holds means in steps of 1/16, pixels without.
    assert figures[1] > figures[0] - 10
    from safetensors.numpy import load_file

    golden = load_file(tmp_path / "image/coreml/golden/golden.safetensors")
    assert golden["input/0/image"].dtype == np.uint8
    pixel_values = golden["input/0/image"].astype(np.float32)  # as Core ML hands a buffer to the program
    got = Evaluator(image.artifacts["coreml"], arithmetic="declared").run({"image": pixel_values}).outputs
    np.testing.assert_allclose(got["scores"], golden["output/0/scores"], rtol=1e-6)
    with pytest.raises(UsageError, match="no input is described as an image"):
        api.export(tmp_path / "net.onnx", out=tmp_path / "x", target="coreml", precision="fp16", image_input=True)
    with pytest.raises(UsageError, match="the tflite target takes arrays only"):
        api.export(tmp_path / "net.onnx", out=tmp_path / "x", precision="fp32", image_input=True, preprocessing=table)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_classifier_names_its_classes_and_keeps_its_numbers(precision: str, tmp_path: Path) -> None:
    graph = canonical(conv_net())
    labels = ("crane", "cat", "crane", "dog ü")
    artifact = lowered(graph, tmp_path, Plan(precision), description=Description(labels=labels))
    evaluator = Evaluator(artifact.path)
    assert evaluator.labels == ("crane", "cat", "crane 2", "dog ü")
    sample = {"image": np.random.default_rng(3).normal(size=(1, 3, 8, 8)).astype(np.float32)}
    outputs = evaluator.run(sample).outputs
    table = outputs["classLabel_probs"][()]
    assert list(table.values()) == outputs["scores"].reshape(-1).tolist()
    assert outputs["classLabel"][()] == evaluator.labels[int(outputs["scores"].argmax())]
    got = COREML.runner(artifact, graph).run(sample)
    assert set(got) == {"scores"}
    assert artifact.facts["classes"] == {"output": "scores", "label": "classLabel"}
    assert [f.code for f in artifact.findings][:2] == ["repeated-labels", "not-probabilities"]
    assert json.loads(evaluator.package.metadata["edgeport.labels"]) == list(labels)


def test_labels_of_no_single_row_are_metadata(tmp_path: Path) -> None:
    graph = canonical(parsed("net (float[2,3] x) => (float[2,3] y) { y = Relu(x) }"))
    artifact = lowered(graph, tmp_path, Plan("fp32"), description=Description(labels=("a", "b", "c")))
    assert [f.code for f in artifact.findings] == ["labels-not-used"]
    assert Evaluator(artifact.path).labels == ()


def test_probabilities_are_the_numbers_of_the_classes(tmp_path: Path) -> None:
    text = """net (float[1,3] x) => (float[1,3] logits, float[3] scores) {
        logits = Neg(x)
        p = Softmax<axis=1>(logits)
        scores = Reshape(p, flat)
    }"""
    graph = canonical(parsed(text, flat=np.array([3])))
    artifact = lowered(graph, tmp_path, Plan("fp32"), description=Description(labels=("a", "b", "c")))
    assert artifact.facts["classes"]["output"] == "scores"
    assert artifact.findings == ()
    table = Evaluator(artifact.path).run({"x": np.array([[1, 2, 0]], np.float32)}).outputs["classLabel_probs"][()]
    want = np.exp([-1, -2, 0]) / np.exp([-1, -2, 0]).sum()
    np.testing.assert_allclose(list(table.values()), want, rtol=1e-5)
