"""The selected node tests as models ready to export: parameters baked as constants, opset relabelled."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

SELECTION = Path(__file__).with_name("selection.json")
"""Name -> [operator, opset, names of the runtime inputs]; written by `python -m tests.conformance.selection`."""

IR_VERSION = 10
"""Highest IR version that is written, as older tools take no newer one."""


@dataclass(frozen=True)
class Case:
    """One node test.

    Attributes:
        name: as onnx names it.
        op: the operator that it is about; an expanded function body counts under its operator.
        model: the serialized model.
        feeds: runtime inputs by name.
        wanted: expected outputs, in the order of the model's outputs.
    """

    name: str
    op: str
    model: bytes
    feeds: Mapping[str, np.ndarray]
    wanted: tuple[np.ndarray, ...]

    @property
    def expanded(self) -> bool:
        """Whether the model is the body of a function operator instead of the operator."""
        return parent(self.name) != self.name


def parent(name: str) -> str:
    """The test whose operator an expanded test spells out; the name itself for any other test."""
    return re.sub(r"_expanded.*$", "", name)


def collect() -> list[Any]:
    """All node tests of the installed onnx."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the generators divide by zero and overflow on purpose
        return [case for case in collect_testcases(None) if case.model is not None]


def tensors(values: Sequence[Any]) -> list[np.ndarray] | None:
    """The values of a data set as arrays, None where one is a sequence, optional or sparse."""
    arrays = []
    for value in values:
        if isinstance(value, np.generic):
            value = np.asarray(value)
        elif isinstance(value, onnx.TensorProto):
            value = numpy_helper.to_array(value)
        if not isinstance(value, np.ndarray):
            return None
        arrays.append(value)
    return arrays


def baked(model: onnx.ModelProto, arrays: Sequence[np.ndarray], runtime: Sequence[str], opset: int) -> onnx.ModelProto:
    """A copy labelled with `opset` and an IR version of at most 10, its inputs outside `runtime` as initializers."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for value, array in zip(model.graph.input, arrays, strict=True):
        if value.name not in runtime:
            graph.initializer.append(numpy_helper.from_array(array, value.name))
    kept = [v for v in model.graph.input if v.name in runtime]
    del graph.input[:]
    graph.input.extend(kept)
    for entry in result.opset_import:
        entry.version = opset if entry.domain in ("", "ai.onnx") else entry.version
    result.ir_version = min(model.ir_version, IR_VERSION)
    return result


def load_cases(only: Sequence[str] = ()) -> list[Case]:
    """The selected cases in the order of their operators; `only` limits them to operators or test names."""
    selection: dict[str, list[Any]] = json.loads(SELECTION.read_text(encoding="utf-8"))
    found = {case.name: case for case in collect() if case.name in selection}
    lacking = sorted(set(selection) - set(found))
    if lacking:
        raise RuntimeError(f"onnx {onnx.__version__} lacks {lacking}; the selection is of onnx 1.23.2")
    cases = []
    for name, (op, opset, runtime) in selection.items():
        if only and op not in only and name not in only:
            continue
        arrays, wanted = (tensors(values) for values in found[name].data_sets[0])
        assert arrays is not None  # by the selection
        assert wanted is not None
        model = baked(found[name].model, arrays, runtime, opset)
        named = zip((v.name for v in found[name].model.graph.input), arrays, strict=True)
        feeds = {n: a for n, a in named if n in runtime}
        cases.append(Case(name, op, model.SerializeToString(), feeds, tuple(wanted)))
    return cases
