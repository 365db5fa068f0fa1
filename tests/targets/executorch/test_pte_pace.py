"""What is spared of the exporter's time changes no byte of a program."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from executorch_graphs import Graph, assert_same, normal

from edgeport.quantize.plan import Plan
from edgeport.targets.executorch import program
from edgeport.targets.executorch.target import EXECUTORCH


def _picture(g: Graph) -> str:
    x = g.input("x", normal(1, 8, 10, 10))
    y = g.op("Conv", x, g.const(normal(8, 8, 3, 3)), g.const(normal(8)), pads=[1, 1, 1, 1])
    y = g.op("Add", g.op("Relu", y), x)
    y = g.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = g.op("Flatten", g.op("GlobalAveragePool", y))
    return str(g.op("Gemm", y, g.const(normal(4, 8)), transB=1))


def _text(g: Graph) -> str:
    x = g.input("x", normal(1, 6, 16))
    y = g.op("LayerNormalization", x, g.const(normal(16)), g.const(normal(16)))
    q = g.op("Transpose", g.op("MatMul", y, g.const(normal(16, 16))), perm=[0, 2, 1])
    y = g.op("MatMul", g.op("Softmax", g.op("MatMul", y, q), axis=-1), y)
    first, rest = g.op("Split", y, g.const(np.array([2, 4])), out=["first", "rest"], axis=1)
    return str(g.op("Concat", rest, first, axis=1))


def _recurrence(g: Graph) -> str:
    x = g.input("x", normal(3, 1, 4))
    made = g.op("GRU", x, g.const(normal(1, 15, 4)), g.const(normal(1, 15, 5)), out=["y"], hidden_size=5)
    return str(made[0])


@pytest.mark.parametrize("build", [_picture, _text, _recurrence])
def test_a_program_has_the_bytes_of_the_unhurried_exporter(
    build: Callable[[Graph], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Graph()
    model = graph.model(build(graph))
    quick = EXECUTORCH.lower(model, Plan("fp32"), tmp_path, "quick")
    monkeypatch.setattr(program, "spared", contextlib.nullcontext)
    slow = EXECUTORCH.lower(model, Plan("fp32"), tmp_path, "slow")
    assert quick.path.read_bytes() == slow.path.read_bytes()


def test_where_sparing_fails_the_exporter_takes_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def broken() -> Iterator[None]:
        yield
        raise AttributeError("what is patched has another form in this version")

    monkeypatch.setattr(program, "spared", broken)
    graph = Graph()
    assert_same(graph, [_picture(graph)], tmp_path)
