"""Several shapes in one package: a function for each, the same weights, every one run and compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from edge_models import parsed

from edgeport import api
from edgeport.errors import UsageError
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
