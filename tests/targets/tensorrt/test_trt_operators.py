"""Which operators and nodes a TensorRT takes: the table against NVIDIA's parser, and every restriction on a node.

The parser is that of TensorRT for RTX, of the TensorRT 11 generation. It says which of the restrictions still hold, so
none of those is ours alone; for older versions the documentation is all that there is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeport.targets.contract import facts_of
from edgeport.targets.registry import load_profile
from edgeport.targets.tensorrt import oracle
from edgeport.targets.tensorrt.board import Board, board_of
from edgeport.targets.tensorrt.limits import objections
from edgeport.targets.tensorrt.operators import first, imports, kinds, restriction
from edgeport.targets.tensorrt.version import Version

NEWEST = Version(11, 2)
needs_parser = pytest.mark.skipif(not oracle.installed(), reason="tensorrt-rtx is not installed")


@needs_parser
def test_the_table_names_the_operators_that_nvidias_parser_has() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert len(known) > 190
    ours = {name for name in known if imports(name, NEWEST)}
    theirs = oracle.importers(known)
    assert ours - theirs == {"DFT", "DeformConv"}  # plugins, of which TensorRT for RTX has no library
    assert theirs - ours <= {"CausalConvWithState", "LinearAttention"}  # of opsets after those that 11 reads


@pytest.mark.parametrize(
    ("op_type", "since"),
    [("Relu", "8.0"), ("ScatterND", "8.2"), ("Xor", "8.4"), ("GridSample", "8.5"), ("LayerNormalization", "8.6"),
     ("Hardmax", "10.0"), ("DeformConv", "10.1"), ("STFT", "10.5"), ("Attention", "10.14"), ("Swish", "11.2")],
)  # fmt: skip
def test_an_operator_is_there_from_its_first_version_on(op_type: str, since: str) -> None:
    version = Version.parse(since)
    assert first(op_type) == version
    assert imports(op_type, version)
    assert imports(op_type, Version(99, 0))
    assert not imports(op_type, Version(version.major, version.minor - 1) if version.minor else Version(7, 9))


def test_no_version_has_an_operator_of_no_version() -> None:
    assert first("Det") is None
    assert not imports("Det", Version(99, 0))


def test_restrictions_and_element_types_end_with_the_version_that_lifts_them() -> None:
    assert "initializer" in str(restriction("CumSum", Version(10, 3)))
    assert restriction("CumSum", Version(10, 8)) is None
    assert kinds("TopK", Version(8, 5, 2)) == ("float",)
    assert kinds("TopK", Version(8, 6)) == ("float", "int")
    assert kinds("Transpose", Version(8, 0)) is None


@dataclass
class Case:
    """A model of one node that some TensorRT does not take.

    Attributes:
        op_type: the node's operator.
        inputs: arrays of what is fed, by name.
        constants: arrays of what is not.
        words: part of the objection.
        until: the newest version with the objection; None if all have it.
        opset: of the file.
        outputs: number of outputs.
        attributes: of the node.
    """

    op_type: str
    inputs: dict[str, Any]
    words: str
    until: Version | None = None
    constants: dict[str, Any] = field(default_factory=dict)
    opset: int = 17
    outputs: int = 1
    attributes: dict[str, Any] = field(default_factory=dict)

    def model(self) -> onnx.ModelProto:
        names = [*self.inputs, *self.constants]
        outputs = [f"y{i}" for i in range(self.outputs)]
        node = helper.make_node(self.op_type, sorted(names), outputs, name="node", **self.attributes)
        ends = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in self.inputs.items()
        ]
        constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in self.constants.items()]
        graph = helper.make_graph([node], "g", ends, [onnx.ValueInfoProto(name=name) for name in outputs], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model, data_prop=True)


def ones(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.ones(shape, dtype)


IMAGE, WEIGHT = ones(1, 3, 8, 8), ones(4, 3, 3, 3)
CASES = {
    "no importer": Case("Mish", {"a": IMAGE}, "has no Mish", Version(10, 14), opset=18),
    "no importer in any": Case("Det", {"a": ones(3, 3)}, "has no Det"),
    "nine axes": Case("Relu", {"a": ones(*[1] * 9)}, "9 axes"),
    "int16": Case("Neg", {"a": ones(3, dtype=np.int16)}, "no INT16 tensors"),
    "uint8": Case("Add", {"a": ones(3, dtype=np.uint8), "b": ones(3, dtype=np.uint8)}, "only quantizes to it"),
    "int of floats": Case("Relu", {"a": ones(3, dtype=np.int32)}, "Relu of INT32"),
    "int of floats once": Case("TopK", {"a": ones(9, dtype=np.int32)}, "TopK of INT32", Version(8, 5, 2),
                               {"b": np.int64([2])}, outputs=2),
    "bool of numbers": Case("Gather", {"a": ones(3, dtype=bool)}, "Gather of BOOL", Version(8, 4, 1),
                            {"b": np.int64([1])}),
    "wide constant": Case("Add", {"a": ones(2, dtype=np.int64)}, "does not fit int32", Version(8, 6, 2),
                          {"b": np.int64([2**40, 1])}),
    "pool of four axes": Case("MaxPool", {"a": ones(1, 1, 2, 2, 2, 2)}, "windows over 4 axes",
                              attributes={"kernel_shape": [2, 2, 2, 2]}),
    "dilated pool": Case("MaxPool", {"a": IMAGE}, "dilations",
                         attributes={"kernel_shape": [2, 2], "dilations": [2, 2]}),
    "indices of a pool": Case("MaxPool", {"a": IMAGE}, "indices", outputs=2, attributes={"kernel_shape": [2, 2]}),
    "power of a pool": Case("LpPool", {"a": IMAGE}, "p is 3", attributes={"kernel_shape": [2, 2], "p": 3}),
    "computed weights": Case("Conv", {"a": IMAGE, "b": WEIGHT}, "weights", Version(8, 4, 1)),
    "computed axes": Case("Unsqueeze", {"a": IMAGE, "b": ones(1, dtype=np.int64)}, "(b) must be an initializer"),
    "computed K": Case("TopK", {"a": ones(4, 9), "b": ones(1, dtype=np.int64)}, "must be an initializer",
                       Version(8, 5, 2), outputs=2),
    "large K": Case("TopK", {"a": ones(1, 5000)}, "K is above 3,840", None, {"b": np.int64([4000])}, outputs=2),
    "smallest": Case("TopK", {"a": ones(1, 9)}, "looks for the smallest", Version(8, 4, 1), {"b": np.int64([4])},
                     outputs=2, attributes={"largest": 0}),
    "diagonal": Case("Einsum", {"a": ones(3, 3)}, "diagonal", Version(10, 11), attributes={"equation": "ii->i"}),
    "sampled volume": Case("GridSample", {"a": ones(1, 1, 2, 2, 2), "b": ones(1, 2, 2, 2, 3)}, "5 axes",
                           Version(10, 16), opset=20),
    "statistics": Case("LayerNormalization", {"a": IMAGE}, "first output only", None, {"b": ones(8)}, outputs=3),
    "crop": Case("Resize", {"a": IMAGE}, "tf_crop_and_resize", None,
                 {"b": np.float32([0, 0, 0, 0, 1, 1, 1, 1]), "c": np.float32([1, 1, 2, 2])},
                 attributes={"coordinate_transformation_mode": "tf_crop_and_resize"}),
    "cubic": Case("Resize", {"a": IMAGE}, "cubic", Version(8, 4, 1),
                  {"b": np.float32([]), "c": np.float32([1, 1, 2, 2])}, attributes={"mode": "cubic"}),
    "wrap": Case("Pad", {"a": IMAGE}, "wrap", Version(8, 6, 2), {"b": np.int64([0, 0, 1, 1] * 2)}, 19,
                 attributes={"mode": "wrap"}),
    "reduction": Case("ScatterND", {"a": ones(4), "c": ones(1)}, "reduction is add", None, {"b": np.int64([[1]])},
                      attributes={"reduction": "add"}),
    "vector and batch": Case("MatMul", {"a": ones(3), "b": ones(2, 3, 4)}, "a vector and more than a matrix"),
    "allowzero": Case("Reshape", {"a": IMAGE}, "allowzero is not said", Version(8, 4, 1), {"b": np.int64([3, 64])}),
    "part of a shape": Case("Shape", {"a": IMAGE}, "part of the shape", Version(8, 4, 1), attributes={"start": 1}),
}  # fmt: skip


def said(case: Case, version: Version) -> list[str]:
    found = objections(ir.from_proto(case.model()), Board(oldest=version))
    assert all(one.severity == "error" and one.node == "node" and one.op == case.op_type for one in found)
    return [one.message for one in found]


@pytest.mark.parametrize("name", CASES)
def test_a_node_is_refused_by_the_versions_that_do_not_take_it(name: str) -> None:
    case = CASES[name]
    assert any(case.words in message for message in said(case, case.until or NEWEST)), said(case, case.until or NEWEST)
    if case.until is not None:
        assert said(case, NEWEST) == []


@needs_parser
@pytest.mark.parametrize("name", CASES)
def test_nvidias_parser_agrees(name: str) -> None:
    case = CASES[name]
    data = case.model().SerializeToString()
    found = oracle.rejections(data)
    if case.until is None and not found:  # its builder may be the one that says so
        with pytest.raises(oracle.WorkerError, match=r"exceeds the maximum value allowed \(3840\)"):
            oracle.build(data, ("SM86",))
    else:
        assert bool(found) == (case.until is None), found


@pytest.mark.parametrize(
    ("case", "profile", "hint"),
    [
        ("no importer", "", "TensorRT 10.15 and later take it"),
        ("part of a shape", "jetson-tx2-jp4", "TensorRT 8.5 and later take it, which no JetPack brings to Jetson TX2"),
        ("computed weights", "jetson-orin-jp5", "TensorRT 8.5 and later take it: --profile jetson-orin-jp6"),
        ("wrap", "jetson-orin-jp5", "TensorRT 10.0 and later take it: --profile jetson-orin-jp7"),
        ("no importer in any", "", "write it in other operators, or end the model before it"),
    ],
)
def test_an_objection_names_the_way_out(case: str, profile: str, hint: str) -> None:
    board = board_of(facts_of(load_profile(profile))) if profile else Board()
    assert [found.hint for found in objections(ir.from_proto(CASES[case].model()), board)] == [hint]


def test_pixels_that_a_board_never_takes_come_as_another_type() -> None:
    cast = Case("Cast", {"a": ones(3, dtype=np.uint8)}, "", attributes={"to": TensorProto.FLOAT})
    board = board_of(facts_of(load_profile("jetson-xavier-jp4")))
    (found,) = objections(ir.from_proto(cast.model()), board)
    assert found.hint is not None
    assert found.hint.startswith("have float32 or int32 instead: ")


def test_nodes_of_bodies_are_asked_about_too() -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Det", ["s"], ["d"], name="inner"),
         helper.make_node("Add", ["s", "d"], ["t"])],
        "body",
        [helper.make_tensor_value_info(n, t, s) for n, t, s in
         (("i", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("s", TensorProto.FLOAT, [2, 2]))],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_tensor_value_info("t", 1, [2, 2])],
    )  # fmt: skip
    loop = helper.make_node("Loop", ["n", "", "a"], ["y"], body=body, name="loop")
    ends = [helper.make_tensor_value_info(name, 1, [2, 2]) for name in ("a", "y")]
    endless = np.int64(np.iinfo(np.int64).max)  # as torch writes `while`; older parsers clamp it to 2^31 - 1 rounds
    graph = helper.make_graph([loop], "g", ends[:1], ends[1:], [numpy_helper.from_array(endless, "n")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert [one.node for one in objections(ir.from_proto(model), Board())] == ["inner"]


@needs_parser
@pytest.mark.parametrize(
    "case",
    [
        Case("NonZero", {"a": ones(3)}, "plugins"),
        Case("ScatterElements", {"a": ones(4), "c": ones(1)}, "plugins", None, {"b": np.int64([1])},
             attributes={"reduction": "add"}),
    ],
)  # fmt: skip
def test_what_is_a_plugin_is_not_for_engines_of_tensorrt_for_rtx(case: Case) -> None:
    model = ir.from_proto(case.model())
    assert objections(model, Board(oldest=NEWEST)) == []
    (found,) = objections(model, Board(oldest=NEWEST, engine="rtx"))
    assert case.words in found.message
    assert oracle.rejections(case.model().SerializeToString())


def test_slices_to_the_end_fit_older_parsers() -> None:
    ends = {"b": np.int64([0]), "c": np.int64([np.iinfo(np.int64).max])}
    assert said(Case("Slice", {"a": IMAGE}, "", None, ends), Version(8, 2, 1)) == []
