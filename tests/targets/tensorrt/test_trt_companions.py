"""The float files of an export are run once beside the canonical graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeport import api
from edgeport.errors import ModelError
from edgeport.preparation import example_samples, prepare
from edgeport.targets.tensorrt.companions import check_companions


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A product with a bias, which the calibration cache wants as a convolution, exported in int8."""
    folder = tmp_path_factory.mktemp("companions")
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(64, 32)).astype(np.float32), "b": rng.normal(size=32).astype(np.float32)}
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["product"]),
        onnx.helper.make_node("Add", ["product", "b"], ["y"]),
    ]
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 8, d]) for n, d in (("x", 64), ("y", 32))]
    graph = onnx.helper.make_graph(
        nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(a, n) for n, a in weights.items()]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "m.onnx")
    samples = example_samples(prepare(str(folder / "m.onnx")).inputs, 16)
    out = folder / "out"
    api.export(str(folder / "m.onnx"), target="tensorrt", calib=samples, out=out, allow_suspicious_data=True)
    return folder / "m.onnx", out / "tensorrt"


def test_the_file_of_the_cache_computes_what_the_model_does(exported: tuple[Path, Path]) -> None:
    source, folder = exported
    prepared = prepare(str(source))
    files = [folder / "m.fp32.onnx", folder / "m.fp16.onnx"]
    assert "Conv" in {node.op_type for node in onnx.load(files[0]).graph.node}
    assert list(check_companions(files, prepared.canonical, example_samples(prepared.inputs, 1)[0])) == []


@pytest.mark.parametrize("kind", ["fp32", "fp16"])
def test_other_numbers_are_noticed(exported: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    source, folder = exported
    prepared = prepare(str(source))
    model = onnx.load(folder / f"m.{kind}.onnx")
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim > 1 and array.dtype.kind == "f":
            tensor.CopyFrom(numpy_helper.from_array((array * 1.1).astype(array.dtype), tensor.name))
    wrong = tmp_path / f"m.{kind}.onnx"
    onnx.save(model, wrong)
    checked = check_companions([wrong], prepared.canonical, example_samples(prepared.inputs, 1)[0])
    if kind == "fp16":
        assert [finding.code for finding in checked] == ["fp16-drift"]
    else:
        with pytest.raises(ModelError, match=r"m\.fp32\.onnx does not compute what the model computes"):
            list(checked)
