"""The calibration cache: its format, and that it has the right scale of every float tensor of the float file."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

import edgeport
from edgeport.calibration import Statistics, collect
from edgeport.errors import UsageError
from edgeport.passes import canonicalize
from edgeport.planning import assign_for, forms_to_observe, plan_for, tensors_to_observe
from edgeport.quantize.plan import Plan
from edgeport.side_branches import with_branches
from edgeport.targets.opset.lower import lower_opset
from edgeport.targets.tensorrt.board import Board
from edgeport.targets.tensorrt.cache import calibration_cache
from edgeport.targets.tensorrt.cache_file import CalibrationCache, can_name
from edgeport.targets.tensorrt.cache_form import in_cache_form
from edgeport.targets.tensorrt.scheme import tensorrt_scheme
from edgeport.targets.tensorrt.version import Version

OLD = Board("old", oldest=Version(8, 2, 1), newest=Version(8, 2, 1), opset=13, typed=False)
"""No LayerNormalization, no Gelu: they are written out, and their inner tensors need scales, too."""
NEW = Board("new", oldest=Version(8, 6, 2), newest=Version(10, 3))
SHAPES = {"w1": (16, 3, 3, 3), "b1": (16,), "w2": (16, 16, 1, 1), "b2": (16,), "w3": (16, 24), "b3": (24,),
          "w4": (24, 20), "g": (24,), "h": (24,), "s": (16, 1, 1), "w5": (16, 20, 3)}  # fmt: skip
BODY = """
    a = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w1, b1)
    r = Relu(a)
    c = Conv(r, w2, b2)
    e = Add(c, r)
    f = Mul(e, s)
    p = Reshape(f, rows)
    t = Transpose<perm=[0,2,1]>(p)
    m = MatMul(t, w3)
    n = Add(m, b3)
    l = LayerNormalization<axis=-1>(n, g, h)
    u = Gelu(l)
    v = MatMul(u, w4)
    q = Softmax<axis=-1>(v)
    z = Transpose<perm=[0,2,1]>(q)
    y = Conv(z, w5)
"""
HEAD = '<ir_version: 10, opset_import: ["": 24]>'


def weights(shapes, seed=0):
    rng = np.random.default_rng(seed)
    fan = {n: max(1, int(np.prod(s[1:]))) for n, s in shapes.items()}
    return {n: (rng.normal(size=s) / np.sqrt(fan[n])).astype(np.float32) for n, s in shapes.items()}


def network(body=BODY, x="1,3,8,8", arrays=None):
    proto = onnx.parser.parse_model(f"{HEAD} g (float[{x}] x) => (float y) {{ {body} }}")
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    arrays = {**weights(SHAPES), "rows": np.array([1, 16, 16])} if arrays is None else arrays
    for name, array in arrays.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    return proto


def samples(count, *shape, seed=1):
    return [{"x": array} for array in np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)]


def made(proto, data, board, method="min-max"):
    """The float file's graph, the cache with its findings, the plan, and the statistics."""
    graph = canonicalize(ir.from_proto(proto))
    assigned = assign_for(graph, tensorrt_scheme("int8", board))
    wanted = dict.fromkeys(tensors_to_observe([assigned]), "histogram")
    statistics = collect(with_branches(graph, forms_to_observe([assigned]), wanted), data, wanted)
    plan = plan_for(graph, assigned, statistics, method)
    model = lower_opset(in_cache_form(graph, board), board.opset)
    content, findings = calibration_cache(model, plan, board)
    return model, CalibrationCache.from_bytes(content), findings, plan, statistics


def seen(model, data):
    """Every float tensor of a model over all samples, from ONNX Runtime: name -> list of arrays."""
    proto = ir.to_proto(model)
    floats = [v.name for node in model.graph for v in node.outputs if v.dtype == ir.DataType.FLOAT]
    have = {o.name for o in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=n) for n in floats if n not in have)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = {"x": [sample["x"] for sample in data]}
    for sample in data:
        for name, array in zip(floats, session.run(floats, sample), strict=True):
            found.setdefault(name, []).append(array)
    return found


@pytest.mark.parametrize("board", [OLD, NEW], ids=lambda b: b.name)
def test_every_tensor_has_the_scale_of_its_largest_magnitude(board):
    data = samples(6, 1, 3, 8, 8)
    model, cache, findings, _, _ = made(network(), data, board)
    arrays = seen(model, data)
    assert findings == ()
    assert list(cache.scales)[: len(arrays)] == list(arrays)  # in the graph's order
    if board is OLD:
        assert "LayerNormalization" not in {node.op_type for node in model.graph}
        assert "n/deviation" in arrays or "l/deviation" in arrays  # a tensor that the canonical graph does not have
    for name, values in arrays.items():
        peak = max(float(np.maximum(v, 0).max() if name == "a" else np.abs(v).max()) for v in values)
        # Only the Relu reads `a`: what lies below 0 makes no difference. 1e-5: sums taken in another order.
        assert cache.scales[name] == pytest.approx(peak / 127, rel=1e-5), name


def test_what_the_quantized_file_quantizes_has_the_same_scale_there():
    _, cache, _, plan, _ = made(network(), samples(6, 1, 3, 8, 8), NEW, "entropy")
    integers = {n: t.qparams for n, t in plan.tensors.items() if t.role == "activation" and t.qparams is not None}
    assert len(integers) >= 4
    for name, qparams in integers.items():
        assert np.float32(cache.scales[name]) == qparams.scale


def test_tensors_of_the_same_elements_are_observed_once():
    _, cache, _, _, statistics = made(network(), samples(3, 1, 3, 8, 8), NEW, "mse")
    assert "f" in statistics.tensors
    assert "t/fine" not in statistics.tensors
    assert cache.scales["f"] == cache.scales["t/fine"] == cache.scales["t"]


def test_the_file_does_not_depend_on_the_run():
    data = samples(3, 1, 3, 8, 8)
    graph = [calibration_cache(m, p, NEW)[0] for m, _, _, p, _ in (made(network(), data, NEW) for _ in range(2))]
    assert graph[0] == graph[1]
    assert graph[0].startswith(b"TRT-8602-EntropyCalibration2\nx: ")


def test_a_tensor_of_zeros_has_a_scale_all_the_same():
    body = "a = Abs(x) n = Neg(a) z = Relu(n) y = Conv(z, w)"
    arrays = weights({"w": (16, 16, 1, 1)})
    _, cache, findings, _, _ = made(network(body, "1,16,4,4", arrays), samples(2, 1, 16, 4, 4), NEW)
    assert findings == ()
    assert cache.scales["z"] == cache.scales["y"] == 1.0


def test_what_was_not_finite_is_left_out_and_named():
    body = "r = Reciprocal(x) c = Clip(r, low, high) y = Conv(c, w)"
    arrays = {"low": np.float32(-4), "high": np.float32(4), **weights({"w": (2, 3, 1, 1)})}
    data = samples(2, 1, 3, 8, 8)
    data[1]["x"][0, 0, 0, 0] = 0
    _, cache, findings, _, _ = made(network(body, arrays=arrays), data, NEW)
    assert "r" not in cache.scales
    assert {"x", "c", "y"} <= cache.scales.keys()
    (finding,) = findings
    assert finding.code == "no-scale"
    assert finding.message.endswith("NaN or infinite in calibration: r")


@pytest.mark.parametrize("masked", [-np.inf, -3.4e38, -1e4])
def test_masked_scores_are_left_out_and_named(masked):
    body = "k = Transpose<perm=[0,2,1]>(x) s = MatMul(x, k) m = Add(s, mask) p = Softmax(m) y = MatMul(p, x)"
    mask = np.triu(np.full((1, 6, 6), masked, np.float32), 1)
    mask[np.isnan(mask)] = 0
    _, cache, findings, _, _ = made(network(body, "1,6,4", {"mask": mask}), samples(2, 1, 6, 4), NEW)
    assert {"x", "y"} <= cache.scales.keys()
    assert max(cache.scales.values()) < 1  # -1e4 / 127 is not among them
    assert [f.code for f in findings] == ["no-scale"]
    assert "mask" in findings[0].message


def test_names_that_a_cache_cannot_hold_are_left_out_and_named():
    proto = network("odd = Sigmoid(x) y = Tanh(odd)", arrays={})
    for node in proto.graph.node:
        node.input[:] = ["a: b" if n == "odd" else n for n in node.input]
        node.output[:] = ["a: b" if n == "odd" else n for n in node.output]
    _, cache, findings, _, _ = made(proto, samples(2, 1, 3, 8, 8), NEW)
    assert list(cache.scales) == ["x", "y"]
    assert findings[0].message.endswith("a cache cannot hold their names: a: b")


def test_what_statistics_of_another_target_lack_is_named():
    graph = canonicalize(ir.from_proto(network()))
    assigned = assign_for(graph, tensorrt_scheme("int8", NEW))
    statistics = collect(graph, samples(2, 1, 3, 8, 8), dict.fromkeys(assigned.assignment.requests, "histogram"))
    plan = plan_for(graph, assigned, statistics, "mse")
    model = in_cache_form(graph, NEW)
    content, findings = calibration_cache(model, plan, NEW)
    scales = CalibrationCache.from_bytes(content).scales
    floats = {v.name for node in model.graph for v in node.outputs if v.dtype == ir.DataType.FLOAT}
    (finding,) = findings
    assert "statistics do not cover" in finding.message
    missing = int(finding.message.split()[0])
    assert missing == len(floats - scales.keys()) > 5


def test_what_was_asked_to_be_float_has_no_scale(tmp_path):
    onnx.save(network(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", np.concatenate([s["x"] for s in samples(16, 1, 3, 8, 8)])[:, None])
    result = edgeport.export(
        tmp_path / "net.onnx", target="tensorrt", calib=tmp_path / "x.npy", layer_precision=["n=fp32"], cache=False,
        out=tmp_path / "out", allow_suspicious_data=True, validate=False,
    )  # fmt: skip
    cache = CalibrationCache.from_bytes((tmp_path / "out" / "tensorrt" / "calibration.cache").read_bytes())
    assert "n" not in cache.scales
    assert {"t", "l", "v"} <= cache.scales.keys()
    (finding,) = [f for f in result.findings if f.code == "no-scale"]
    assert "another precision was asked for" in finding.message


def test_recurrent_layers_run_in_float():
    arrays = weights({"w": (1, 16, 6), "u": (1, 16, 4)})
    _, cache, findings, _, _ = made(
        network("y, h, c = LSTM<hidden_size=4>(x, w, u)", "5,1,6", arrays), samples(2, 5, 1, 6), NEW
    )
    assert {"x", "y"} <= cache.scales.keys()
    assert not {"w_output", "u_output"} & cache.scales.keys()
    assert [(f.severity, f.code) for f in findings] == [("info", "float-inside")]


def test_accelerators_are_pointed_at_the_cache():
    _, _, findings, _, _ = made(network(), samples(2, 1, 3, 8, 8), replace(NEW, dla=2))
    assert [(f.severity, f.code) for f in findings] == [("info", "dla")]


def test_one_statistics_file_serves_again(tmp_path):
    onnx.save(network(), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", np.concatenate([s["x"] for s in samples(16, 1, 3, 8, 8)])[:, None])
    given = {"target": "tensorrt", "precision": "int8", "cache": False, "allow_suspicious_data": True}
    file = tmp_path / "statistics.safetensors"
    edgeport.calibrate(tmp_path / "net.onnx", calib=tmp_path / "x.npy", out=file, **given)
    held = {"data": tmp_path / "x.npy", "validate": False}
    edgeport.export(tmp_path / "net.onnx", statistics=file, out=tmp_path / "a", **given, **held)
    edgeport.export(tmp_path / "net.onnx", calib=tmp_path / "x.npy", out=tmp_path / "b", **given, **held)
    one, other = ((tmp_path / out / "tensorrt" / "calibration.cache").read_bytes() for out in "ab")
    assert one == other
    assert Statistics.load(file).digest() == Statistics.load(tmp_path / "b" / "statistics.safetensors").digest()
    floats = ir.load(tmp_path / "a" / "tensorrt" / "net.fp32.onnx").graph
    assert {v.name for node in floats for v in node.outputs} <= CalibrationCache.from_bytes(one).scales.keys()


def test_the_format_reads_back_what_it_wrote():
    scales = {"images": 1 / 127, "conv1/convolution:0": 0.034, "a b: c".replace(": ", ":"): 1e-30, "ü": 3.5}
    for token, algorithm in ((Version(8, 5, 2), "EntropyCalibration2"), (Version(10, 3), "MinMaxCalibration")):
        cache = CalibrationCache(token.calibration_token, scales, algorithm)
        again = CalibrationCache.from_bytes(cache.to_bytes())
        assert (again.token, again.algorithm) == (token.calibration_token, algorithm)
        assert again.scales == {n: float(np.float32(s)) for n, s in scales.items()}
    text = cache.to_bytes().decode().split("\n")
    assert text[0] == "TRT-100300-MinMaxCalibration"
    assert text[1] == "images: 3c010204"  # 1/127 is 1.0078740119934082 * 2**-7
    assert text[-1] == ""


def test_the_format_reads_what_tensorrt_and_others_write():
    content = b"TRT-8510-EntropyCalibration2\r\nx: 4000890a\n(Unnamed Layer* 8) [Constant]_output: 39137939\nz: 0\n"
    cache = CalibrationCache.from_bytes(content)
    assert list(cache.scales) == ["x", "(Unnamed Layer* 8) [Constant]_output", "z"]
    assert cache.scales["x"] == struct.unpack(">f", bytes.fromhex("4000890a"))[0]
    assert cache.scales["z"] == 0.0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1 is ''"),
        (b"TRT-8502-LegacyCalibration\n", "line 1"),
        (b"TRT-8502-EntropyCalibration2\nx 3c010a14\n", "line 2"),
        (b"TRT-8502-EntropyCalibration2\nx: 3c010a14\nx: 3c010a14\n", "line 3"),
        (b"TRT-8502-EntropyCalibration2\nx: 0.5\n", "line 2"),
        (b"\xff\xfe", "byte 0"),
    ],
)
def test_damaged_files_are_refused(content, said):
    with pytest.raises(UsageError, match=said):
        CalibrationCache.from_bytes(content)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf, 1e39, 1e-50])
def test_scales_that_tensorrt_refuses_are_not_written(scale):
    with pytest.raises(UsageError, match="not positive and finite"), np.errstate(over="ignore"):
        CalibrationCache("8502", {"x": scale}).to_bytes()


def test_names():
    assert all(map(can_name, ("input:0", "a:b", "a :b", "(Unnamed Layer* 8) [Constant]_output")))
    assert not any(map(can_name, ("", "a: b", "a\nb", "a\rb")))
    with pytest.raises(UsageError, match="cannot hold this name"):
        CalibrationCache("8502", {"a: b": 1.0}).to_bytes()


_LIST_TENSORS = """
import json, sys
import tensorrt_rtx as trt
log = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(log)
network = builder.create_network(0)
parser = trt.OnnxParser(network, log)
assert parser.parse(open(sys.argv[1], "rb").read())
tensors = [network.get_input(i) for i in range(network.num_inputs)]
layers = [network.get_layer(i) for i in range(network.num_layers)]
tensors += [layer.get_output(i) for layer in layers for i in range(layer.num_outputs)]
print(json.dumps([t.name for t in tensors if t.dtype == trt.float32]))
"""


@pytest.mark.parametrize("board", [OLD, replace(NEW, opset=17)], ids=lambda b: b.name)
def test_the_tensors_of_nvidias_parser_are_all_named(tmp_path, board):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: NVIDIA's parser does not run")
    board = replace(board, newest=Version(10, 3))  # names of layers are those of TensorRT 10
    model, cache, _, _, _ = made(network(), samples(2, 1, 3, 8, 8), board)
    ir.save(model, tmp_path / "net.onnx")
    said = subprocess.run(
        [sys.executable, "-c", _LIST_TENSORS, str(tmp_path / "net.onnx")], capture_output=True, text=True, check=True
    )
    asked = json.loads(said.stdout)
    missing = {name for name in asked if name not in cache.scales}
    assert len(asked) > 20
    # Scale and shift of a LayerNormalization, which has no integer kernel, are given the axes of its input.
    assert all(name.startswith("ONNXTRT_Broadcast") for name in missing), missing
    assert len(missing) <= 2


def test_without_a_plan_nothing_is_covered():
    model = in_cache_form(canonicalize(ir.from_proto(network())), NEW)
    content, findings = calibration_cache(model, Plan("int8"), NEW)
    assert not [n for n in CalibrationCache.from_bytes(content).scales if not n.endswith("_output")]
    assert findings[0].code == "no-scale"


_READ_BY_MODELOPT = """
import json, sys
from modelopt.onnx.quantization.calib_utils import import_scales_from_calib_cache as read
print(json.dumps(read(sys.argv[1])))
"""


def test_modelopt_reads_the_same_scales(tmp_path):
    python = os.environ.get("EDGEPORT_MODELOPT")
    if not python:
        pytest.skip("EDGEPORT_MODELOPT names no Python that has NVIDIA ModelOpt: its reader is not asked")
    model, cache, _, _, _ = made(network(), samples(4, 1, 3, 8, 8), OLD)
    (tmp_path / "calibration.cache").write_bytes(cache.to_bytes())
    said = subprocess.run(
        [python, "-c", _READ_BY_MODELOPT, str(tmp_path / "calibration.cache")],
        capture_output=True,
        text=True,
        check=True,
    )
    read = json.loads(said.stdout.strip().splitlines()[-1])
    assert read == {f"{name}_scale": scale for name, scale in cache.scales.items()}
    floats = {v.name for node in model.graph for v in node.outputs if v.dtype == ir.DataType.FLOAT}
    assert {f"{name}_scale" for name in floats} <= read.keys()
