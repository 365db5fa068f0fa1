"""The float files of an export are run once beside the canonical graph."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeport import api
from edgeport.errors import ModelError
from edgeport.preparation import example_samples, prepare
from edgeport.targets import onnx_file
from edgeport.targets.tensorrt.companions import check_companions
from edgeport.validate.onnx_runner import OnnxRunner


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


def test_constants_that_one_file_cannot_hold_lie_beside_it(
    exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, whole = exported
    samples = example_samples(prepare(str(source)).inputs, 16)
    monkeypatch.setattr(onnx_file, "_LARGEST_FILE", 0)
    api.export(str(source), target="tensorrt", calib=samples, out=tmp_path / "out", allow_suspicious_data=True)
    folder = tmp_path / "out" / "tensorrt"
    listed = {entry["path"] for entry in json.loads((folder / "bundle.json").read_text())["files"]}
    for kind in ("int8", "fp32", "fp16"):
        assert {f"m.{kind}.onnx", f"m.{kind}.data"} <= listed
        one, other = (OnnxRunner(where / f"m.{kind}.onnx", optimize=False) for where in (whole, folder))
        np.testing.assert_array_equal(other.run(samples[0])["y"], one.run(samples[0])["y"])
