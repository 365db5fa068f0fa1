"""What an export says of files that break a rule, or of which NVIDIA's builder makes no engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeport.errors import ModelError
from edgeport.targets.tensorrt import oracle
from edgeport.targets.tensorrt.board import Board
from edgeport.targets.tensorrt.proof import Builds, linted, proven_with


def scattered(reduction: str) -> onnx.ModelProto:
    """ScatterElements with a reduction, for which TensorRT wants a plugin that TensorRT for RTX does not have."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    nodes = [helper.make_node("ScatterElements", ["x", "at", "new"], ["y"], name="scatter", reduction=reduction)]
    constants = {"at": np.asarray([1, 1]), "new": np.asarray([1.0, 2.0], np.float32)}
    weights = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("ahead", [True, False])
def test_a_file_of_which_no_engine_is_built_is_named(tmp_path: Path, ahead: bool) -> None:
    pytest.importorskip("tensorrt_rtx")
    for reduction in ("none", "add"):
        onnx.save(scattered(reduction), tmp_path / f"{reduction}.onnx")
    found = Builds([tmp_path / "none.onnx", tmp_path / "add.onnx"], ahead=ahead).findings
    assert [finding.code for finding in found] == ["tensorrt-not-built"]
    assert found[0].message.startswith("add.onnx: ")


def test_a_file_that_breaks_a_rule_is_not_handed_out() -> None:
    model = scattered("none")
    model.opset_import[0].version = 19
    with pytest.raises(ModelError, match="break a rule of TensorRT") as caught:
        linted({"int8": ir.from_proto(model)}, Board())
    assert [finding.code for finding in caught.value.findings] == ["trt-opset"]


def test_the_version_of_nvidias_parser_is_a_fact_of_the_files_that_it_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    tensorrt_rtx = pytest.importorskip("tensorrt_rtx")
    assert proven_with() == {"tensorrt_rtx": tensorrt_rtx.__version__}
    monkeypatch.setattr(oracle, "installed", lambda: False)
    assert proven_with() == {}
