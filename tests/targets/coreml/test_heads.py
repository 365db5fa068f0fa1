"""Heads on one row compute on images, with the same numbers, in float16 and with integers."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgeport import api
from edgeport.targets.coreml.evaluator.package import open_package
from edgeport.targets.coreml.evaluator.run import Evaluator

pytest.importorskip("coremltools")
RNG = np.random.default_rng(0)
GRAPH = """<ir_version: 8, opset_import: ["" : 17]> head (float[1,8,6,6] x) => (float[1,64] y) {
    p = GlobalAveragePool(x)
    f = Flatten(p)
    h = Gemm<transB=1>(f, w1, b1)
    a = HardSwish(h)
    y = Gemm<transB=1>(a, w2, b2)
}"""


@pytest.mark.parametrize("precision", ["fp16", "int8", "int4-weights", "palettized-6"])
def test_the_same_numbers(precision: str, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(GRAPH)
    shapes = {"w1": (64, 8), "b1": (64,), "w2": (64, 64), "b2": (64,)}
    weights = {name: (RNG.normal(size=shape) / 8).astype(np.float32) for name, shape in shapes.items()}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    source = tmp_path / "head.onnx"
    onnx.save(model, source)
    calib = [{"x": RNG.normal(loc=1, size=(1, 8, 6, 6)).astype(np.float32)} for _ in range(32)]
    result = api.export(
        str(source),
        target="coreml",
        precision=precision,
        calib=calib,
        validate=False,
        out=tmp_path / "out",
        cache=False,
    )
    package = open_package(Path(result.artifacts["coreml"]))
    kinds = [op.kind for op in package.interfaces["main"].function.block.operations if op.kind != "const"]
    assert "linear" not in kinds
    assert kinds.count("conv") == 2
    assert kinds.count("reshape") == 1  # where the row is handed out
    x = calib[0]["x"]
    got = Evaluator(package, arithmetic="declared").run({"x": x}).outputs["y"]
    want = ort.InferenceSession(str(source)).run(None, {"x": x})[0]
    noise = 10 * np.log10((want**2).sum() / ((got - want) ** 2).sum())
    # Roundings of 11, 8, 4 and about 6 bits, each a few times, on numbers of like size.
    assert noise > {"fp16": 55, "int8": 30, "int4-weights": 15, "palettized-6": 25}[precision]
