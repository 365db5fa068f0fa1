"""ONNX files in odd forms: what is captured runs as the file does; what is refused says why in one line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_onnx import WEIGHT, WriteModel, make_model

from edgeport.capture import Captured, capture
from edgeport.errors import ModelError, UsageError
from edgeport.passes import canonicalize
from edgeport.sample import Array, parse_input_spec
from edgeport.validate.onnx_runner import OnnxRunner

X = np.random.default_rng(3).standard_normal((1, 4)).astype(np.float32)


def outputs(captured: Captured, **sample: Array) -> dict[str, Array]:
    """The captured graph's outputs, after comparing them with the source's."""
    got = OnnxRunner(captured.model).run(sample)
    want = captured.reference.run(sample)
    assert list(got) == list(want)
    for name in want:
        # Weights that are constants are packed for another MatMul kernel, which adds in another order.
        np.testing.assert_allclose(got[name], want[name], rtol=1e-6, atol=1e-6)
    return got


def refusal(path: Path, *flags: str) -> ModelError:
    with pytest.raises(ModelError) as caught:
        capture(path, inputs=[parse_input_spec(f) for f in flags])
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_plain_file(write_model: WriteModel) -> None:
    captured = capture(write_model())
    # 4 products summed in float32: one rounding each.
    np.testing.assert_allclose(outputs(captured, x=X)["y"], X @ WEIGHT, rtol=1e-6)
    assert captured.name == "model"
    assert [f.code for f in captured.findings] == ["batch-fixed"]
    assert tuple(captured.model.graph.inputs[0].shape or ()) == (1, 4)
    assert tuple(captured.model.graph.outputs[0].shape or ()) == (1, 3)


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 21])
def test_opset_stays(write_model: WriteModel, opset: int) -> None:
    captured = capture(write_model(opset=opset, ir_version=4 if opset < 13 else 8))
    assert captured.model.opset_imports[""] == opset
    outputs(captured, x=X)


def test_weights_in_constant_nodes(write_model: WriteModel) -> None:
    nodes = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(WEIGHT)),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    captured = capture(write_model(nodes))
    np.testing.assert_allclose(outputs(captured, x=X)["y"], X @ WEIGHT, rtol=1e-6)  # as above


@pytest.mark.parametrize("ir_version", [3, 8])
def test_initializers_repeated_as_inputs(write_model: WriteModel, ir_version: int) -> None:
    captured = capture(write_model(inputs={"w": (4, 3), "x": ("N", 4)}, opset=9, ir_version=ir_version))
    assert [v.name for v in captured.model.graph.inputs] == ["x"]
    outputs(captured, x=X)
    with pytest.raises(UsageError, match="no input 'w'"):
        capture(write_model(inputs={"w": (4, 3), "x": ("N", 4)}), inputs=[parse_input_spec("w:float32[4,3]")])


def test_stale_recorded_shapes_are_dropped_and_wrong_types_named(write_model: WriteModel) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["z"]), helper.make_node("Neg", ["z"], ["y"])]
    wrong_shape = [helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 7))]
    captured = capture(write_model(nodes, outputs={"y": (5, 9)}, value_info=wrong_shape))
    assert tuple(captured.model.graph.outputs[0].shape or ()) == (1, 4)
    np.testing.assert_array_equal(outputs(captured, x=X)["y"], -np.maximum(X, 0))

    wrong_dtype = [helper.make_tensor_value_info("z", TensorProto.INT64, (1, 4))]
    with pytest.raises(ModelError, match=r"del model.graph.value_info\[:\]"):  # ONNX Runtime does not load it either
        capture(write_model(nodes, value_info=wrong_dtype))


def test_nodes_get_unique_names_and_lose_paths(write_model: WriteModel) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["b"], "n")]
    nodes += [
        helper.make_node("Neg", ["b"], ["c"], "n", doc_string="/somewhere/net.py"),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    captured = capture(write_model(nodes))
    assert [n.name for n in captured.model.graph] == ["Relu", "n", "n_1", "Relu_2"]
    assert b"somewhere" not in ir.to_proto(captured.model).SerializeToString()


def test_nodes_out_of_order_are_sorted(write_model: WriteModel) -> None:
    nodes = [helper.make_node("Neg", ["a"], ["y"], "second"), helper.make_node("Relu", ["x"], ["a"], "first")]
    captured = capture(write_model(nodes))
    assert [n.name for n in captured.model.graph] == ["first", "second"]
    outputs(captured, x=X)


def test_subgraphs_functions_and_contrib_operators(write_model: WriteModel, tmp_path: Path) -> None:
    then = helper.make_graph([helper.make_node("Relu", ["x"], ["t"])], "then", [], [ir_value("t")])
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["e"])], "else", [], [ir_value("e")])
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other),
    ]
    captured = capture(write_model(nodes, weights={"zero": np.float32(0)}))
    ones = np.ones((1, 4), np.float32)
    np.testing.assert_array_equal(outputs(captured, x=ones)["y"], ones)
    np.testing.assert_array_equal(outputs(captured, x=-ones)["y"], ones)

    twice = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 13)]
    )
    model = make_model([helper.make_node("Twice", ["x"], ["y"], domain="mine")], domains=["mine"])
    model.functions.append(twice)
    (tmp_path / "function.onnx").write_bytes(model.SerializeToString())
    np.testing.assert_array_equal(outputs(capture(tmp_path / "function.onnx"), x=X)["y"], 2 * X)

    for entry in (model.opset_import[0], model.functions[0].opset_import[0]):
        entry.domain = "ai.onnx"  # the long form of the empty name
    (tmp_path / "function.onnx").write_bytes(model.SerializeToString())
    captured = capture(tmp_path / "function.onnx")
    assert captured.model.opset_imports[""] == 13
    np.testing.assert_array_equal(outputs(captured, x=X)["y"], 2 * X)

    node = helper.make_node("FastGelu", ["x"], ["y"], domain="com.microsoft")
    outputs(capture(write_model([node], domains=["com.microsoft"])), x=X)


def ir_value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def test_outputs_that_are_inputs_or_weights(write_model: WriteModel) -> None:
    captured = capture(write_model(outputs={"y": None, "x": ("N", 4), "w": (4, 3)}))
    got = outputs(captured, x=X)
    np.testing.assert_array_equal(got["x"], X)
    np.testing.assert_array_equal(got["w"], WEIGHT)


def test_question_marks_are_dimensions_of_their_own(write_model: WriteModel) -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    path = write_model([relu], inputs={"x": ("?", 3, "?", "?")}, outputs={"y": ("?", 3, "?", "?")})
    captured = capture(path, inputs=[parse_input_spec("x:float32[1,3,8,24]")])
    assert outputs(captured, x=np.ones((1, 3, 8, 24), np.float32))["y"].shape == (1, 3, 8, 24)


def test_symbolic_dimensions(write_model: WriteModel) -> None:
    path = write_model([helper.make_node("Relu", ["x"], ["y"])], inputs={"x": ("N", "T")}, outputs={"y": ("N", "T")})
    assert '--input "x:float32[1,128]"' in str(refusal(path))
    captured = capture(path, inputs=[parse_input_spec("x:float32[2,6]")])
    assert tuple(captured.model.graph.outputs[0].shape or ()) == (2, 6)
    kept = capture(path, keep_symbolic=True)
    assert [str(s) for s in OnnxRunner(kept.model).inputs] == ["x:float32[N,T]"]
    assert kept.findings == ()
    outputs(kept, x=np.ones((3, 5), np.float32))


def test_a_shape_that_cannot_be_is_refused(write_model: WriteModel) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
    path = write_model(nodes, inputs={"x": (1, "K")}, weights={"w": np.ones((4, 3), np.float32)})
    error = refusal(path, "x:float32[1,5]")
    assert "with the inputs x[1,5]" in str(error)
    assert "product" in str(error)


def with_external_data(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_external_data(tmp_path: Path) -> None:
    weights: dict[str, Any] = {"w": WEIGHT, "bias": np.arange(3, dtype=np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Add", ["z", "bias"], ["y"])]
    path = with_external_data(tmp_path, make_model(nodes, weights=weights))
    captured = capture(path)
    want = OnnxRunner(make_model(nodes, weights=weights).SerializeToString()).run({"x": X})["y"]
    np.testing.assert_array_equal(outputs(captured, x=X)["y"], want)

    moved = shutil.copytree(tmp_path, tmp_path / "elsewhere" / "deep")
    assert capture(moved / "model.onnx").digest == captured.digest
    data = bytearray((moved / "weights.bin").read_bytes())
    data[0] ^= 1
    (moved / "weights.bin").write_bytes(data)
    assert capture(moved / "model.onnx").digest != captured.digest


def test_external_data_that_is_missing_or_short(tmp_path: Path) -> None:
    path = with_external_data(tmp_path, make_model())
    data = tmp_path / "weights.bin"
    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    assert "weights.bin is too short" in str(refusal(path))
    data.write_bytes(b"")
    assert "weights.bin is too short" in str(refusal(path))
    data.unlink()
    assert "weights.bin is missing" in str(refusal(path))
    data.write_bytes(whole)
    capture(path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "weights.bin", "offset": "8"}, "too short"),
        ({"location": "weights.bin", "offset": "-4", "length": "48"}, "too short"),
        ({"location": "weights.bin", "offset": "many"}, "damaged reference"),
        ({"location": "weights.bin", "length": "4"}, "too short"),
        ({"location": "../weights.bin"}, "outside the model's folder"),
        ({"location": "/etc/hostname"}, "outside the model's folder"),
        ({"location": ""}, "outside the model's folder"),
    ],
)
def test_external_references_that_lead_astray(tmp_path: Path, entries: dict[str, str], message: str) -> None:
    path = with_external_data(tmp_path, make_model())
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer[0]
    del tensor.external_data[:]
    tensor.external_data.extend(onnx.StringStringEntryProto(key=k, value=v) for k, v in entries.items())
    path.write_bytes(model.SerializeToString())
    assert message in str(refusal(path))


def test_a_file_cut_anywhere(write_model: WriteModel) -> None:
    path = write_model()
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        assert str(path) in str(refusal(path))


def test_what_is_not_an_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for data, message in (
        (b"", "is empty"),
        (b"# a text\n" * 50, "not a readable ONNX model"),
        (b"\x08\x08", "no ONNX"),
    ):
        path.write_bytes(data)
        assert message in str(refusal(path))
    assert "is a folder" in str(refusal(tmp_path))


def test_cycles_name_their_nodes(write_model: WriteModel) -> None:
    cycle = [helper.make_node("Add", ["x", "b"], ["a"], "n1"), helper.make_node("Relu", ["a"], ["b"], "n2")]
    error = refusal(write_model([*cycle, helper.make_node("Relu", ["b"], ["y"], "n3")]))
    assert "cycle: n1 -> n2 -> n1" in str(error)
    inner = helper.make_graph(
        [helper.make_node("Add", ["x", "q"], ["p"], "c1"), helper.make_node("Relu", ["p"], ["q"], "c2")],
        "then",
        [],
        [ir_value("q")],
    )
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["e"])], "else", [], [ir_value("e")])
    nodes = [
        helper.make_node("Cast", ["x"], ["c"], to=TensorProto.BOOL),
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=other),
    ]
    assert "cycle: c1 -> c2 -> c1" in str(refusal(write_model(nodes)))


def test_unknown_operators_are_all_listed(write_model: WriteModel) -> None:
    nodes = [
        helper.make_node("Foo", ["x"], ["a"], "foo"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Gelu", ["b"], ["c"], "gelu"),
        helper.make_node("Bar", ["c"], ["y"], "bar", domain="mine"),
    ]
    error = refusal(write_model(nodes, domains=["mine"], opset=17))
    assert [(f.node, f.op, f.code) for f in error.findings] == [
        ("foo", "Foo", "unknown-operator"),
        ("gelu", "Gelu", "unknown-operator"),
        ("bar", "Bar", "unknown-operator"),
    ]
    assert "before opset 20 (opset 17)" in error.findings[1].message
    assert "no operator Bar, Foo, Gelu (3 nodes)" in str(error)


def test_refusals(write_model: WriteModel, tmp_path: Path) -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    assert "opset 0" in str(refusal(write_model([relu], opset=0, ir_version=3)))
    assert "nothing defines input 'q'" in str(refusal(write_model([helper.make_node("Add", ["x", "q"], ["y"])])))
    assert "nothing defines output 'y'" in str(refusal(write_model([helper.make_node("Relu", ["x"], ["z"])])))
    assert "redeclared" in str(refusal(write_model([relu, helper.make_node("Neg", ["x"], ["y"])])))
    assert "tensor(string)" in str(
        refusal(write_model([helper.make_node("Identity", ["x"], ["y"])], dtype=TensorProto.STRING))
    )
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)
    assert "onnx" in str(refusal(write_model([cast])))

    path = tmp_path / "model.onnx"
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [3])
    model = make_model()
    del model.graph.initializer[:]
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4, 3]))
    path.write_bytes(model.SerializeToString())
    assert [f.code for f in refusal(path).findings] == ["sparse-weight"]

    model = make_model()
    model.graph.initializer[0].raw_data = b"1234"
    path.write_bytes(model.SerializeToString())
    assert "w" in str(refusal(path))


def test_random_operators_are_reported(write_model: WriteModel) -> None:
    captured = capture(write_model([helper.make_node("RandomNormalLike", ["x"], ["y"], "noise")]))
    assert [(f.code, f.node) for f in captured.findings if f.severity == "warning"] == [("random-op", "noise")]


def test_a_quantized_source_is_reported(write_model: WriteModel) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], "back"),
    ]
    (finding,) = [f for f in capture(write_model(nodes)).findings if f.severity == "warning"]
    assert (finding.code, finding.node) == ("already-quantized", "quantize")
    assert "(1 nodes: DynamicQuantizeLinear)" in finding.message


def test_the_digest_is_of_content_and_inputs(write_model: WriteModel, tmp_path: Path) -> None:
    path = write_model()
    first = capture(path).digest
    assert capture(shutil.copy(path, tmp_path / "other.onnx")).digest == first
    assert capture(path, inputs=[parse_input_spec("x:float32[1,4]")]).digest == first
    assert capture(path, inputs=[parse_input_spec("x:float32[2,4]")]).digest != first
    assert capture(write_model(weights={"w": WEIGHT + 1})).digest != first


@pytest.mark.parametrize(
    ("file", "flags"),
    [
        ("fmnist/fmnist_ds.onnx", ()),
        ("fmnist/fmnist_vit.onnx", ()),
        ("rxn_albert/rxn_albert.onnx", ()),
        ("crepe/crepe_tiny.onnx", ()),
        ("silero_vad/silero_vad_openvino_16k.onnx", ()),
        ("g2p/g2p_dec_step.onnx", ()),
        ("g2p/g2p_enc.onnx", ("graphemes:int64[1,9]",)),
        ("basic_pitch/nmp.onnx", ()),
    ],
)
def test_real_models(file: str, flags: tuple[str, ...]) -> None:
    path = Path(__file__).parents[3] / "shared" / "bench" / file
    if not path.exists():
        pytest.skip(f"{file} is not here")
    captured = capture(path, inputs=[parse_input_spec(f) for f in flags])
    runner = OnnxRunner(captured.model)
    rng = np.random.default_rng(0)
    sample: dict[str, Array] = {
        s.name: rng.standard_normal(tuple(map(int, s.shape))).astype(np.float32)
        if s.dtype == "float32"
        else np.ones(tuple(map(int, s.shape)), s.dtype)
        for s in runner.inputs
    }
    got, want = runner.run(sample), captured.reference.run(sample)
    for name, value in want.items():
        # Fixed shapes let ONNX Runtime choose other kernels and fusions than for the file: float32 rounding,
        # here through up to 12 transformer layers.
        np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-4 * np.abs(value).max())


@pytest.mark.parametrize("width", [1, 3])
def test_a_branch_that_fits_other_shapes_only(tmp_path: Path, width: int) -> None:
    """TorchScript writes squeeze(1) as a branch: the Squeeze contradicts a dimension of 3, and is never taken then."""
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[N,M,4] x) => (y) {
        s = Shape(x) i = Constant<value_int = 1>() d = Gather(s, i) one = Constant<value_int = 1>() c = Equal(d, one)
        z = If (c) <
            then_branch = t () => (a) { ax = Constant<value_ints = [1]>() a = Squeeze(x, ax) },
            else_branch = e () => (b) { b = Identity(x) }
        >
        y = Relu(z)
    }"""
    path = tmp_path / "m.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    captured = capture(path, inputs=[parse_input_spec(f"x:float32[2,{width},4]")])
    x = np.random.default_rng(0).standard_normal((2, width, 4)).astype(np.float32)
    got = OnnxRunner(canonicalize(captured.model)).run({"x": x})["y"]
    np.testing.assert_array_equal(got, captured.reference.run({"x": x})["y"])
    assert captured.model.graph.outputs[0].shape == got.shape


@pytest.mark.parametrize(("width", "taken"), [(4, "then"), (6, "else")])
def test_the_only_branch_that_fits_the_inputs_is_the_model(tmp_path: Path, width: int, taken: str) -> None:
    """As voice models do with two sample rates, each with frames of its own length."""
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[N,M] x, int64 rate) => (y) {
        c = Equal(rate, slow)
        z = If (c) < then_branch = t () => (a) { a = MatMul(x, v) }, else_branch = e () => (b) { b = MatMul(x, w) } >
        y = Relu(z)
    }"""
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    weights = {"v": rng.standard_normal((4, 3)), "w": rng.standard_normal((6, 3))}
    model.graph.initializer.extend(numpy_helper.from_array(a.astype(np.float32), n) for n, a in weights.items())
    model.graph.initializer.append(numpy_helper.from_array(np.array(8000), "slow"))
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    captured = capture(path, inputs=[parse_input_spec(f"x:float32[2,{width}]")])
    (finding,) = [f for f in captured.findings if f.code == "branch-fixed"]
    assert f"only the {taken} branch" in finding.message
    x, rate = rng.standard_normal((2, width)).astype(np.float32), np.array(8000 if taken == "then" else 16000)
    outputs(captured, x=x, rate=rate)
