"""`inspect --for`: files that other tools wrote, against a board's rules, from the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_models import quantized_by_onnxruntime, small_cnn

import edgeport
from edgeport.cli.main import run
from edgeport.errors import ModelError
from edgeport.targets.tensorrt import oracle

BOARD = "jetson-orin-jp6"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def bad() -> str:
    """Quantized by ONNX Runtime's defaults."""
    quantized_by_onnxruntime("bad.onnx")
    return "bad.onnx"


@pytest.fixture
def good() -> str:
    onnx.save(small_cnn(), "good.onnx")
    return "good.onnx"


def outcome(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = run(["inspect", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_file_that_the_board_takes_exits_0(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, body = outcome(capsys, "--for", BOARD, good)
    assert (code, body["ok"], body["result"]["accepted"]) == (0, True, True)
    assert body["result"]["operators"] == {"Conv": 3, "Add": 1, "Clip": 1, "Gemm": 1, "ReduceMean": 1, "Relu": 1}
    assert [f["code"] for f in body["findings"]] == (["tensorrt-takes"] if oracle.installed() else [])
    assert run(["inspect", "--for", BOARD, good]) == 0
    assert "nothing against it" in capsys.readouterr().out


def test_a_file_that_it_refuses_exits_3_with_every_place(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    graph = onnx.load(bad).graph
    integers = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.INT32}
    biases = {n.name for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in integers}
    code, body = outcome(capsys, "--for", BOARD, bad)
    assert (code, body["error"]["type"], body["error"]["exit_code"]) == (3, "ModelError", 3)
    every = [f for f in body["result"]["findings"] if f["code"] == "trt-int32-bias"]
    assert {f["node"] for f in every} == biases
    assert len(every) == len(biases) == 4
    (shown,) = (f for f in body["findings"] if f["code"] == "trt-int32-bias")
    assert shown["message"] == f"{every[0]['message']} (the first of 4 places)"
    assert not body["result"]["accepted"]
    rejected = any(f["code"] == "tensorrt-rejects" for f in body["findings"])
    assert rejected is oracle.installed()

    assert run(["inspect", "--for", BOARD, bad]) == 3
    captured = capsys.readouterr()
    assert captured.out.count("trt-int32-bias") == 1  # one row a rule, however many layers
    assert len(captured.err.splitlines()) == 1
    assert bad in captured.err
    assert run(["inspect", "--for", BOARD, bad, "--quiet"]) == 3
    assert capsys.readouterr().out == ""


def test_a_bias_through_qdq_is_an_error_on_old_boards_only(capsys: pytest.CaptureFixture[str]) -> None:
    """Parsers of TensorRT 8 assert that the bias of a Conv is an initializer; later ones take a constant tensor."""
    model = small_cnn()
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    nodes = [
        onnx.helper.make_node("QuantizeLinear", [conv.input[2], "bs", "bz"], ["bq"], name="bq"),
        onnx.helper.make_node("DequantizeLinear", ["bq", "bs", "bz"], ["bd"], name="bd"),
    ]
    conv.input[2] = "bd"
    model.graph.initializer.extend(
        numpy_helper.from_array(a, n) for a, n in ((np.float32(0.01), "bs"), (np.int8(0), "bz"))
    )
    nodes += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, "bias.onnx")
    for board, code, severities in (("jetson-orin-jp7", 0, {"warning"}), (BOARD, 3, {"error", "warning"})):
        found, body = outcome(capsys, "--for", board, "bias.onnx")
        assert found == code
        assert {f["severity"] for f in body["findings"]} - {"info"} == severities


def test_python_raises_with_the_result(bad: str, good: str) -> None:
    assert edgeport.inspect(good, for_device=BOARD).facts["accepted"]
    with pytest.raises(ModelError, match=BOARD) as caught:
        edgeport.inspect(bad, for_device=BOARD)
    assert caught.value.result.facts["device"] == BOARD


def test_the_file_need_not_be_one_that_can_be_exported(capsys: pytest.CaptureFixture[str]) -> None:
    model = small_cnn()
    model.graph.node[1].op_type, model.graph.node[1].domain = "OwnRelu", "own.domain"
    model.opset_import.append(onnx.helper.make_opsetid("own.domain", 1))
    onnx.save(model, "own.onnx")
    code, body = outcome(capsys, "--for", BOARD, "own.onnx")
    assert code == 3
    assert [f["op"] for f in body["findings"] if f["severity"] == "error"] == ["OwnRelu"]


def test_plugins_of_tensorrt_are_not_refused(capsys: pytest.CaptureFixture[str]) -> None:
    model = small_cnn()
    model.graph.node[1].op_type = "CoordConvAC_TRT"
    onnx.save(model, "plugin.onnx")
    code, body = outcome(capsys, "--for", BOARD, "plugin.onnx")
    assert code == 0
    assert {"code": "trt-plugin", "op": "CoordConvAC_TRT"}.items() <= body["findings"][0].items()


def test_weights_beside_the_file_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    """A dead channel: its scale of zero stands in the other file."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[4,64] x) => (float[4,64] y) {
        wq = QuantizeLinear<axis=1>(w, s, z)
        wd = DequantizeLinear<axis=1>(wq, s, z)
        y = MatMul(x, wd)
    }"""
    )
    scale = np.full(64, 0.01, np.float32)
    scale[7] = 0
    for name, array in {"w": np.ones((64, 64), np.float32), "s": scale, "z": np.zeros(64, np.int8)}.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(model, "split.onnx", save_as_external_data=True, location="split.data", size_threshold=0)
    code, body = outcome(capsys, "--for", BOARD, "split.onnx")
    assert code == 3
    assert "number 7" in body["error"]["message"]
    os.truncate("split.data", 64)
    assert run(["inspect", "--for", BOARD, "split.onnx"]) == 3
    assert "too short" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_damaged_file_exits_3_in_one_line(good: str, share: float, capsys: pytest.CaptureFixture[str]) -> None:
    data = Path(good).read_bytes()
    Path("half.onnx").write_bytes(data[: int(len(data) * share)])
    assert run(["inspect", "--for", BOARD, "half.onnx"]) == 3
    captured = capsys.readouterr()
    assert "half.onnx" in captured.err
    assert len(captured.err.splitlines()) == 1


def no_inputs(node: onnx.NodeProto) -> None:
    del node.input[:]


def no_weight(node: onnx.NodeProto) -> None:
    node.input[1] = ""


def pads_of_text(node: onnx.NodeProto) -> None:
    node.attribute.remove(next(a for a in node.attribute if a.name == "pads"))
    node.attribute.append(onnx.helper.make_attribute("pads", "all"))


@pytest.mark.parametrize(
    ("damage", "said"), [(no_inputs, "0 input(s)"), (no_weight, "input W is missing"), (pads_of_text, "attribute pads")]
)
def test_nodes_that_are_none_are_named(
    damage: Callable[[onnx.NodeProto], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small_cnn()
    damage(next(node for node in model.graph.node if node.op_type == "Conv"))
    onnx.save(model, "damaged.onnx")
    code, body = outcome(capsys, "--for", BOARD, "damaged.onnx")
    assert code == 3
    assert said in body["error"]["message"]
    assert [f["code"] for f in body["findings"]] == ["unsound-node"]


def test_a_name_that_is_no_text_is_refused(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("name.onnx").write_bytes(Path(good).read_bytes().replace(b"logits", b"log\xffts"))
    assert run(["inspect", "--for", BOARD, "name.onnx"]) == 3
    assert "not text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--for", "jetson-orin-jp66", "good.onnx"], "'jetson-orin-jp6'"),
        (["--for", "pixel-8", "good.onnx"], BOARD),
        (["--for", BOARD, "none.onnx"], "none.onnx"),
        (["--for", BOARD, "model.pt2"], ".onnx"),
        (["--for", BOARD, "model.py:build"], ".onnx"),
        (["--for", BOARD, "good.onnx", "--target", "tflite"], "--target"),
        (["--for", BOARD, "good.onnx", "--input", "image:float32[1,3,16,16]"], "--input"),
    ],
)
def test_usage(arguments: list[str], expected: str, good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", *arguments]) == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


def test_only_the_source_of_the_configuration_counts(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("edgeport.toml").write_text(
        'source = "good.onnx"\ntarget = ["tflite"]\ninput = ["image:float32[1,3,16,16]"]\n'
    )
    code, body = outcome(capsys, "--for", BOARD)
    assert (code, body["result"]["name"]) == (0, "good")
