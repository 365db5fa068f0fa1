"""Layers with a precision of their own: which nodes they are, what is refused, and what the file then computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from small_models import smooth_images

from edgeport import api
from edgeport.errors import UsageError
from edgeport.layer_precision import LayerPrecision, match_layers, parse_layer


def graph() -> ir.Graph:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[2,4] x) => (float[2,4] y) {'
        ' "head/a" = Relu(x) body = Neg("head/a") y = Sigmoid(body) }'
    )
    for node, name in zip(proto.graph.node, ("/head/Relu[0]", "/body/Neg", "/out/Sigmoid"), strict=True):
        node.name = name
    return ir.from_proto(proto).graph


@pytest.mark.parametrize(
    ("entries", "matched"),
    [
        (["/head/*=fp32"], {"/head/Relu[0]": "fp32"}),
        (["/head/Relu[0]=fp32"], {"/head/Relu[0]": "fp32"}),  # as it stands, not as a set of characters
        (["body=fp16"], {"/body/Neg": "fp16"}),  # the tensor that it writes
        (["*=fp16", "y=fp32"], {"/head/Relu[0]": "fp16", "/body/Neg": "fp16", "/out/Sigmoid": "fp32"}),
        (["y=fp32", "*=fp16"], {"/head/Relu[0]": "fp16", "/body/Neg": "fp16", "/out/Sigmoid": "fp16"}),
        ([], {}),
    ],
)
def test_entries_name_nodes_or_what_they_write(entries: list[str], matched: dict[str, str]) -> None:
    assert match_layers(graph(), [parse_layer(text) for text in entries]) == matched


@pytest.mark.parametrize(
    ("glob", "says"),
    [("haed/*", "'head/a'"), ("head/b", "'head/a'"), ("SIGMOID", "'/out/Sigmoid'"), ("zzz", "look like")],
)
def test_an_entry_that_matches_nothing_names_what_is_near(glob: str, says: str) -> None:
    with pytest.raises(UsageError, match="no node and no tensor matches") as error:
        match_layers(graph(), [LayerPrecision(glob, "fp32")])
    assert says in str(error.value)


def test_a_pattern_may_hold_equals_signs() -> None:
    assert parse_layer("a=b=fp32") == LayerPrecision("a=b", "fp32")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"layer_precision": ["logits"]}, "GLOB=PRECISION"),
        ({"layer_precision": ["=fp32"]}, "GLOB=PRECISION"),
        ({"layer_precision": ["logits=fp23"]}, r"--layer-precision logits=fp23: the tflite target.*'fp32'"),
        ({"layer_precision": ["logits=int8"]}, r"--layer-precision logits=int8 needs calibration samples"),
        ({"layer_precision": ["logit=fp32"]}, r"--layer-precision logit=fp32: no node.*'logits'"),
        ({"precision": "int8", "layer_precision": ["logits=int16x8"], "calib": "images"}, "do not mix"),
        (
            {"precision": "int8", "scheme": "full-integer", "layer_precision": ["logits=fp32"], "calib": "images"},
            "--scheme default",
        ),
        ({"group_size": 32}, "--group-size is for palettized"),
        ({"sparsity": 0.5}, "--sparsity is for --precision sparse"),
        ({"block_size": 32}, "--block-size is for int4-weights"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    cnn: Path, images: Path, tmp_path: Path, arguments: dict[str, object], says: str
) -> None:
    given = {"precision": "fp16", **arguments} | ({"calib": images} if "calib" in arguments else {})
    with pytest.raises(UsageError, match=says) as error:
        api.export(cnn, out=tmp_path / "out", **given)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("precision", "layer", "kernels"),
    [
        ("int8", "fp32", {"int8", "float32"}),
        ("int8", "int8-weights", {"int8", "int8-weights", "float32"}),
        ("fp16", "fp32", {"fp16-weights", "float32"}),
        ("int8-weights", "fp16", {"int8-weights", "fp16-weights", "float32"}),
        ("fp32", "int8-weights", {"int8-weights", "float32"}),
        ("int4-weights", "int8", {"int8-weights", "int8-dynamic", "float32"}),
    ],
)
def test_the_file_computes_what_was_planned_for_each_layer(
    cnn: Path, images: Path, tmp_path: Path, precision: str, layer: str, kernels: set[str]
) -> None:
    result = api.export(
        cnn, precision=precision, layer_precision=[f"logits={layer}"], calib=images, out=tmp_path / "out"
    )
    target = result.report["targets"][0]
    assert {node["kernel"] for node in target["plan"]["nodes"]} == kernels
    assert any(f"{layer} was asked for" in node["reason"] for node in target["plan"]["nodes"])
    outputs = {rung["name"]: rung["outputs"][0] for rung in target["ladder"]["rungs"]}
    # In the simulation float products run as they do in the file; a step of int8 that falls otherwise would be 40 dB.
    assert outputs["kernels"]["identical"] or outputs["kernels"]["sqnr_db"] > 80
    assert result.report["options"]["layer_precision"] == [f"logits={layer}"]


def test_the_last_layer_in_float_makes_an_int8_model_better(cnn: Path, images: Path, tmp_path: Path) -> None:
    held_out = tmp_path / "held_out.npz"
    np.savez(held_out, image=smooth_images(8, 3, 16, seed=9))

    def drift(*layers: str) -> float:
        result = api.export(cnn, calib=images, data=held_out, layer_precision=layers, out=tmp_path / "out")
        rungs = result.report["targets"][0]["ladder"]["rungs"]
        return float(next(r for r in rungs if r["name"] == "total")["outputs"][0]["sqnr_db"])

    assert drift("logits=fp32") > drift() + 3  # its 8-bit output alone is worth half of the noise
