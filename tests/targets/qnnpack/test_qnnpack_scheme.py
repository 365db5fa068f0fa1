"""Where integers stand, what they measure at run time, and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from qnnpack_engine import engine, torch
from qnnpack_graphs import Graph, normal, planned, samples

from edgeport import api
from edgeport.errors import UsageError
from edgeport.quantize.plan import QParams
from edgeport.targets.qnnpack import reference
from edgeport.targets.qnnpack.lower import integer_operators, lower_graph
from edgeport.targets.qnnpack.target import QNNPACK

pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")


def kernels(g: Graph, *outputs: str, precision: str = "int8") -> dict[str, tuple[str, str]]:
    """Tensor that a node writes -> its kernel and the reason."""
    net = planned(g, *outputs, precision=precision)
    nodes = net.plan.nodes
    written = {node.outputs[0].name or "": node.name or "" for node in net.prepared.canonical.graph}
    return {value: (nodes[node].kernel, nodes[node].reason) for value, node in written.items()}


def encoder() -> Graph:
    """A layer of a masked encoder, post-norm."""
    g = Graph()
    x, mask = g.input("x", normal(1, 6, 16)), g.const(np.where(np.arange(6) < 4, 0, -3.4e38).astype(np.float32))
    q, k, v = (g.op("MatMul", x, g.const(normal(16, 16, seed=i) * 0.25), out=f"p{i}") for i in range(3))
    scores = g.op("Add", g.op("MatMul", q, g.op("Transpose", k, perm=[0, 2, 1]), out="scores"), mask, out="masked")
    y = g.op("MatMul", g.op("Softmax", scores), v, out="attended")
    y = g.op("Add", x, g.op("MatMul", y, g.const(normal(16, 16, seed=5) * 0.25), out="projected"), out="residual")
    y = g.op("LayerNormalization", y, g.const(np.ones(16, np.float32)), out="normed")
    z = g.op("Add", g.op("MatMul", y, g.const(normal(16, 32, seed=6) * 0.25)), g.const(normal(32, seed=8)), out="up")
    z = g.op("MatMul", g.op("Relu", z), g.const(normal(32, 16, seed=7) * 0.2), out="down")
    g.op("Add", y, z, out="y")
    return g


def test_an_encoder_keeps_masks_sums_and_norms_in_floats() -> None:
    found = kernels(encoder(), "y")
    for name in ("residual", "normed", "y"):
        assert found[name][0] == "float32", name
    assert not any(kernel == "int8" for name, (kernel, _) in found.items() if "mask" in name or "score" in name)
    assert found["projected"][0] == "int8-dynamic"  # floats feed and read it
    assert found["up"][0] == found["down"][0] == "int8"  # one feeds the other


def test_a_product_that_floats_feed_and_read_is_the_reference(tmp_path: Path) -> None:
    g = Graph()
    w, b = normal(24, 7, seed=1), normal(7, seed=2)
    x = g.op("MatMul", g.input("x", normal(3, 5, 24)), g.const(w))
    g.op("Relu", g.op("Add", x, g.const(b)), out="y")
    for precision in ("int8", "int8-dynamic"):
        net = planned(g, "y", precision=precision)
        artifact = net.lower(tmp_path)
        assert artifact.facts["ops"] == {"linear_dynamic": 1}
        assert net.compared() == {"linear_dynamic": (3 * 5 * 7, 0)}
        got = QNNPACK.runner(artifact, net.prepared.canonical).run(net.held[0])["y"]
        (name,) = (n for n, t in net.plan.tensors.items() if t.role == "weight")
        stored = net.plan.qparams(name)
        assert stored is not None
        rows = QParams("int8", stored.scale, np.zeros(7, np.int32), 0)
        want = reference.linear_dynamic(net.held[0]["x"], stored.quantize(w).T, b, rows, machine="desktop", relu=True)
        np.testing.assert_array_equal(got, want)
        simulated = net.simulated(net.held[0])["y"]
        # The simulation measures the whole tensor, too; a tie may be rounded otherwise.
        np.testing.assert_allclose(
            got, simulated, atol=2 * float(np.abs(net.held[0]["x"]).max() / 127 * np.abs(w).max())
        )


def test_the_gates_of_squeeze_and_excite_are_floats() -> None:
    g = Graph()
    x = g.op("Conv", g.input("x", normal(1, 4, 9, 9)), g.const(normal(8, 4, 1, 1) * 0.4), out="trunk")
    s = g.op("Conv", g.op("GlobalAveragePool", x, out="mean"), g.const(normal(8, 8, 1, 1, seed=1) * 0.3), out="gate")
    x = g.op("Mul", x, g.op("Sigmoid", s, out="opened"), out="scaled")
    g.op("Conv", x, g.const(normal(4, 8, 1, 1, seed=2) * 0.3), out="y")
    found = kernels(g, "y")
    assert {name: found[name][0] for name in ("trunk", "gate", "y")} == dict.fromkeys(("trunk", "gate", "y"), "int8")
    assert {found[name][0] for name in ("mean", "opened", "scaled")} == {"float32"}


@pytest.mark.parametrize(
    ("op", "shape", "attributes", "reason"),
    [
        ("MaxPool", (1, 8, 9, 9), {"kernel_shape": [2, 2], "dilations": [2, 2], "pads": [1] * 4}, "dilation"),
        ("AveragePool", (1, 8, 9, 9), {"kernel_shape": [3, 3], "pads": [1] * 4}, "counts padding"),
        ("Resize", (1, 8, 9, 9), {"mode": "linear"}, "nearest"),
        ("Add", (1, 8, 9, 9), {}, "one shape"),
    ],
)
def test_what_the_engine_cannot_stays_float_and_says_why(
    op: str, shape: tuple[int, ...], attributes: dict[str, object], reason: str
) -> None:
    g = Graph()
    x = g.op("Conv", g.input("x", normal(*shape)), g.const(normal(8, 8, 1, 1) * 0.3))
    operands = [x]
    if op == "Resize":
        operands += ["", g.const(np.asarray([1, 1, 2, 2], np.float32))]
    if op == "Add":
        operands.append(g.op("Conv", g.input("z", normal(1, 8, 1, 1)), g.const(normal(8, 8, 1, 1) * 0.3)))
    y = g.op(op, *operands, out="middle", **attributes)
    g.op("Conv", y, g.const(normal(8, 8, 1, 1, seed=3) * 0.3), out="y")
    kernel, said = kernels(g, "y")["middle"]
    assert kernel == "float32"
    assert reason in said


@pytest.mark.parametrize("axes", [2, 3])
def test_transposed_convolutions_in_groups_and_volumes_stay_float(axes: int) -> None:
    g = Graph()
    size = (5,) * axes
    x = g.op("Relu", g.op("Conv", g.input("x", normal(1, 4, *size)), g.const(normal(4, 4, *(1,) * axes) * 0.4)))
    g.op("ConvTranspose", x, g.const(normal(4, 2, *(2,) * axes, seed=1) * 0.4), group=2, out="y")
    found = kernels(g, "y")
    assert found["y"][0] == "float32"
    if axes == 3:
        assert "torch does not save" in "".join(reason for _, reason in found.values())


def test_layers_that_share_weights_share_what_the_file_holds(tmp_path: Path) -> None:
    sizes = []
    for depth in (2, 8):
        g = Graph()
        x, w, b = g.input("x", normal(1, 4, 128)), g.const(normal(128, 128, seed=1) * 0.1), g.const(normal(128, seed=2))
        for _ in range(depth):
            x = g.op("Relu", g.op("Add", g.op("MatMul", x, w), b))
        net = planned(g, x)
        with engine():
            counts = integer_operators(lower_graph(net.prepared.canonical, net.plan))
        assert sum(counts.values()) == depth
        sizes.append(net.lower(tmp_path).facts["bytes"])
    assert sizes[1] - sizes[0] < 128 * 128  # six more layers, but no further weights


def test_sums_whose_scales_the_engine_refuses_go_through_floats(tmp_path: Path) -> None:
    g = Graph()
    x = g.op("Relu", g.op("Conv", g.input("x", normal(1, 4, 6, 6)), g.const(normal(4, 4, 1, 1)), out="a"))
    z = g.op("Conv", x, g.const(normal(4, 4, 1, 1, seed=1) * 1e-6), out="tiny")
    y = g.op("Relu", g.op("Add", x, z, out="s"))
    g.op("Conv", y, g.const(normal(4, 4, 1, 1, seed=2)), out="y")
    net = planned(g, "y")
    artifact = net.lower(tmp_path)
    assert "add" not in artifact.facts["ops"]
    assert "add_relu" not in artifact.facts["ops"]
    got = QNNPACK.runner(artifact, net.prepared.canonical).run(net.held[0])["y"]
    want = net.simulated(net.held[0])["y"]
    assert np.square(got - want).sum() < 1e-3 * np.square(want).sum()


def test_one_precision_that_it_does_not_have() -> None:
    with pytest.raises(UsageError, match="takes fp32, int8, int8-dynamic"):
        QNNPACK.scheme("fp16", None)


def test_the_command_line_says_nothing_of_torch(tmp_path: Path) -> None:
    g = encoder()
    onnx.save(g.proto("y"), tmp_path / "m.onnx")
    np.savez(tmp_path / "c.npz", x=np.concatenate([s["x"] for s in samples(g, 32)]))
    command = [sys.executable, "-m", "edgeport", "export", str(tmp_path / "m.onnx"), "--target", "qnnpack"]
    command += ["--profile", "ptl-bytecode-5", "--calib", str(tmp_path / "c.npz"), "--out", str(tmp_path / "out")]
    ran = subprocess.run([*command, "--no-cache", "--json"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "eprecat" not in ran.stderr
    assert "Warning" not in ran.stderr
    (report,) = json.loads(ran.stdout)["result"]["report"]["targets"]
    assert report["verdict"] == "measured"
    assert report["facts"]["bytecode"] == 5
    assert "legacy" in {f["code"] for f in report["findings"]}
    done = api.validate(tmp_path / "out" / "qnnpack" / "m.ptl", str(tmp_path / "m.onnx"), data=str(tmp_path / "c.npz"))
    assert done.facts["outputs"][0]["sqnr_db"] > 25
    assert torch.backends.quantized.engine != "qnnpack"
