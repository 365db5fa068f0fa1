"""Several shapes in one package: a function for each, the same weights, every one run and compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from edge_models import parsed

from edgeport import api
from edgeport.errors import ModelError, UsageError
from edgeport.targets.coreml.evaluator.package import open_package
from edgeport.targets.coreml.evaluator.run import Evaluator


@pytest.fixture
def open_net(tmp_path: Path) -> Path:
    """A network that takes images of any size; 36 KB of weights in float32."""
    rng = np.random.default_rng(0)
    model = parsed(
        """net (float[1,3,H,W] image, float[1,N] gain) => (float[1,32] scores, float[1,32,H,W] map) {
            a = Conv<pads=[1,1,1,1]>(image, w)
            map = Relu(a)
            b = Conv<pads=[1,1,1,1]>(map, v)
            m = ReduceMean<axes=[2,3], keepdims=0>(b)
            g = ReduceMax<axes=[1], keepdims=1>(gain)
            scores = Mul(m, g)
        }""",
        w=(rng.normal(size=(32, 3, 3, 3)) / 5).astype(np.float32),
        v=(rng.normal(size=(32, 32, 3, 3)) / 17).astype(np.float32),
    )
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


MAIN = ["image:float32[1,3,16,16]", "gain:float32[1,4]"]
OTHERS = ["image=1x3x24x8,gain=1x2", "image=1x3x32x32,gain=1x4"]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-weights"])
def test_a_function_for_each_shape_on_the_same_weights(precision: str, open_net: Path, tmp_path: Path) -> None:
    common = {"target": "coreml", "precision": precision, "inputs": MAIN}
    one = api.export(open_net, out=tmp_path / "one", **common)
    several = api.export(open_net, out=tmp_path / "several", shapes=OTHERS, **common)
    sizes = [
        (result.artifacts["coreml"] / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size
        for result in (one, several)
    ]
    assert sizes[1] <= sizes[0] * 1.02
    package = open_package(several.artifacts["coreml"])
    assert package.specification == 9  # iOS 18, the first with functions
    assert list(package.interfaces) == ["main", "main_1x3x24x8_1x2", "main_1x3x32x32_1x4"]
    assert package.default == "main"
    session = ort.InferenceSession(open_net)
    rng = np.random.default_rng(3)
    for name, interface in package.interfaces.items():
        x = {f.name: rng.normal(size=f.type.shape).astype(np.float32) for f in interface.inputs}
        got = Evaluator(package, name).run(x).outputs
        for output, want in zip(("scores", "map"), session.run(["scores", "map"], x), strict=True):
            # float32 sums in another order; float16 weights; weights of 8 bits
            bound = {"fp32": 1e-5, "fp16": 2e-3, "int8-weights": 2e-2}[precision]
            np.testing.assert_allclose(got[output], want, atol=bound * np.abs(want).max())
    facts = several.report["targets"][0]["facts"]
    assert list(facts["functions"]) == list(package.interfaces)
    assert [s["shapes"] for s in facts["shapes"]] == OTHERS
    assert all(o["sqnr_db"] > 30 for s in facts["shapes"] for o in s["outputs"])
    again = api.validate(
        several.artifacts["coreml"],
        open_net,
        inputs=["image:float32[1,3,32,32]", MAIN[1]],
        data=[{"image": np.ones((1, 3, 32, 32), np.float32), "gain": np.ones((1, 4), np.float32)}],
    )
    assert {o["output"] for o in again.facts["outputs"]} == {"scores", "map"}


@pytest.mark.parametrize(
    ("shapes", "target", "said"),
    [
        ("image=3x16x16", "coreml", "has 3 axes|4 axes"),
        ("picture=1x3x8x8", "coreml", "no input is called 'picture'"),
        ("image:1,3,8,8", "coreml", "is not NAME=SHAPE"),
        ("image=1x3x16x16,gain=1x4", "coreml", "there already"),
        ("image=1x3x8x8,image=1x3x4x4", "coreml", "twice"),
        ("image=1x3x8x8", "tflite", "the tflite target has one shape"),
    ],
)
def test_shapes_that_make_no_sense(shapes: str, target: str, said: str, open_net: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        api.export(open_net, target=target, precision="fp32", inputs=MAIN, shapes=[shapes], out=tmp_path / "o")


def test_a_system_before_functions_is_refused(open_net: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--shapes needs iOS18"):
        api.export(
            open_net,
            target="coreml",
            precision="fp16",
            inputs=MAIN,
            shapes=OTHERS,
            profile="iphone-15-pro-ios17",
            out=tmp_path / "o",
        )


@pytest.fixture
def open_encoder(tmp_path: Path) -> Path:
    """One attention of 2 heads over a sequence of any length, a slice to its end and one that leaves the last out."""
    rng = np.random.default_rng(0)
    model = parsed(
        """net (float[1,L,16] x) => (float[1,L,16] y, float[1,M] last) {
            q = MatMul(x, wq)
            k = MatMul(x, wk)
            qs = Reshape(q, split)
            ks = Reshape(k, split)
            qt = Transpose<perm=[0,2,1,3]>(qs)
            kt = Transpose<perm=[0,2,3,1]>(ks)
            scores = MatMul(qt, kt)
            p = Softmax<axis=-1>(scores)
            vt = Transpose<perm=[0,2,1,3]>(ks)
            o = MatMul(p, vt)
            ot = Transpose<perm=[0,2,1,3]>(o)
            y = Reshape(ot, join)
            most = Slice(y, one, minus, axis)
            last = ReduceMean<axes=[2], keepdims=0>(most)
        }""",
        wq=rng.normal(size=(16, 16)).astype(np.float32) / 4,
        wk=rng.normal(size=(16, 16)).astype(np.float32) / 4,
        split=np.array([0, -1, 2, 8]),
        join=np.array([0, -1, 16]),
        one=np.array([1]),
        minus=np.array([-1]),
        axis=np.array([1]),
    )
    onnx.save(model, tmp_path / "encoder.onnx")
    return tmp_path / "encoder.onnx"


@pytest.mark.parametrize("form", ["enumerated", "ranged"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_one_function_for_all_lengths(precision: str, form: str, open_encoder: Path, tmp_path: Path) -> None:
    result = api.export(
        open_encoder,
        target="coreml",
        precision=precision,
        inputs=["x:float32[1,12,16]"],
        shapes=["x=1x7x16", "x=1x20x16"],
        shapes_as=form,
        out=tmp_path / "out",
    )
    evaluator = Evaluator(result.artifacts["coreml"])
    assert list(evaluator.package.interfaces) == ["main"]
    (feature,) = evaluator.features[0]
    if form == "enumerated":
        assert feature.shapes == ((1, 12, 16), (1, 7, 16), (1, 20, 16))
    else:
        assert feature.ranges == ((1, 1), (7, 20), (16, 16))
    session = ort.InferenceSession(open_encoder)
    for length in (7, 12, 20) if form == "enumerated" else (7, 9, 12, 18, 20):
        x = np.random.default_rng(length).normal(size=(1, length, 16)).astype(np.float32)
        want = session.run(["y", "last"], {"x": x})
        got = evaluator.run({"x": x}).outputs
        for name, array in zip(("y", "last"), want, strict=True):
            # float32 sums in another order; float16 weights
            np.testing.assert_allclose(got[name], array, atol=1e-5 if precision == "fp32" else 1e-2)
    facts = result.report["targets"][0]["facts"]
    assert facts["shapes_as"] == form
    assert all(o["sqnr_db"] > 40 for s in facts["shapes"] for o in s["outputs"])


@pytest.mark.parametrize("form", ["enumerated", "ranged"])
def test_images_of_several_sizes(form: str, open_net: Path, tmp_path: Path) -> None:
    model = onnx.load(open_net)
    del model.graph.input[1:]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 4), np.float32), "gain"))
    onnx.save(model, open_net)
    result = api.export(
        open_net,
        target="coreml",
        precision="fp16",
        inputs=MAIN[:1],
        shapes=["image=1x3x24x8"],
        shapes_as=form,
        image_input=True,
        preprocessing={"layout": "NCHW", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.3]},
        out=tmp_path / "out",
    )
    import coremltools as ct

    (image,) = ct.models.utils.load_spec(str(result.artifacts["coreml"])).description.input
    kind = image.type.imageType
    assert (kind.width, kind.height) == (16, 16)
    if form == "enumerated":
        assert [(s.width, s.height) for s in kind.enumeratedSizes.sizes] == [(16, 16), (8, 24)]
    else:
        ranges = kind.imageSizeRange
        assert (ranges.widthRange.lowerBound, ranges.widthRange.upperBound) == (8, 16)
        assert (ranges.heightRange.lowerBound, ranges.heightRange.upperBound) == (16, 24)
    assert all(o["sqnr_db"] > 40 for o in result.report["targets"][0]["facts"]["shapes"][0]["outputs"])


def test_a_head_takes_batches_of_any_size(tmp_path: Path) -> None:
    """Of one row it could be a convolution of an image, which no other batch is."""
    w = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
    text = "net (float[N,8,4,4] x) => (float[N,5] y) { m = GlobalAveragePool(x) f = Flatten(m) y = MatMul(f, w) }"
    onnx.save(parsed(text, w=w), tmp_path / "net.onnx")
    result = api.export(
        tmp_path / "net.onnx",
        target="coreml",
        precision="fp16",
        shapes="x=4x8x4x4",  # one text is a list of one
        shapes_as="ranged",
        out=tmp_path / "out",
    )
    x = np.random.default_rng(1).normal(size=(3, 8, 4, 4)).astype(np.float32)
    got = Evaluator(result.artifacts["coreml"]).run({"x": x}).outputs["y"]
    np.testing.assert_allclose(got, x.mean((2, 3)) @ w, atol=5e-3)  # float16 of sums below 4


def test_what_does_not_follow_from_the_shapes_is_refused(open_net: Path, tmp_path: Path) -> None:
    model = onnx.load(open_net)
    one = onnx.numpy_helper.from_array(np.ones(1, np.float32))
    table = onnx.helper.make_node("ConstantOfShape", ["sizes"], ["table"], value=one)
    sizes = onnx.helper.make_node("Shape", ["map"], ["sizes"], start=2)
    total = onnx.helper.make_node("CumSum", ["table", "first"], ["places"])
    add = onnx.helper.make_node("Add", ["map", "places"], ["placed"])
    model.graph.node.extend([sizes, table, total, add])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0), "first"))
    model.graph.output.append(onnx.helper.make_tensor_value_info("placed", 1, [1, 32, "A", "B"]))
    onnx.save(model, open_net)
    common = {"target": "coreml", "precision": "fp32", "inputs": MAIN, "shapes": OTHERS[:1]}
    with pytest.raises(ModelError, match="is another constant at other shapes; leave --shapes-as out"):
        api.export(open_net, shapes_as="ranged", out=tmp_path / "ranged", **common)
    api.export(open_net, out=tmp_path / "functions", **common)
    with pytest.raises(UsageError, match="--shapes-as ranged needs --shapes"):
        api.export(open_net, target="coreml", precision="fp32", shapes_as="ranged", out=tmp_path / "o")
    with pytest.raises(UsageError, match="no such form"):
        api.export(open_net, shapes_as="range", out=tmp_path / "o", **common)
