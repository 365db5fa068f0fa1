"""`inspect`: what a model takes, gives and consists of, and what each target would refuse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import onnx_ir as ir

from edgeport.errors import UsageError
from edgeport.findings import Finding
from edgeport.linting import lint_for
from edgeport.preparation import prepare
from edgeport.results import Result
from edgeport.sample import InputSpec
from edgeport.targets.contract import Target
from edgeport.targets.registry import load_target, missing_requirements, require_toolchain, target_names


def inspect(
    source: Any,
    *,
    target: str | Sequence[str] = (),
    inputs: Sequence[str | InputSpec] = (),
    for_device: str | None = None,
    drop_passes: Sequence[str] = (),
    add_passes: Sequence[str] = (),
) -> Result:
    """Captures a model, makes it canonical and asks targets about it; writes nothing.

    Args:
        source: as for `export`.
        target: targets to ask; by default all whose toolchain is installed.
        inputs: `NAME:DTYPE[SHAPE]`, to fix open dimensions.
        for_device: a profile: check the ONNX file as it is against that device's rules (`edgeport.linting.lint_for`
            says what comes back), and ask nobody else.
        drop_passes: names of graph passes to leave out.
        add_passes: names of graph passes to run as well.

    Returns:
        Facts: name, sha256, inputs, outputs, parameters, operators of source and canonical graph, targets.

    Raises:
        EdgeportError: the model cannot be captured, a name is unknown, or a toolchain is missing.
    """
    if for_device is not None:
        if target or inputs or drop_passes or add_passes:
            raise UsageError("--for reads the file as it is; leave out --target, --input and --passes-*")
        return lint_for(source, for_device)
    names = [target] if isinstance(target, str) else list(target)
    targets = [load_target(name) for name in names] or _installed()
    for asking in targets:
        require_toolchain(asking)
    prepared = prepare(source, inputs, drop_passes, add_passes)
    asked = {t.name: tuple(t.check(prepared.canonical, "fp32", None)) for t in targets}
    graph = prepared.canonical.graph
    facts = {
        "name": prepared.captured.name,
        "sha256": prepared.captured.digest,
        "inputs": [str(spec) for spec in prepared.inputs],
        "outputs": [_output(v) for v in graph.outputs],
        "parameters": sum(v.const_value.size for v in graph.initializers.values() if v.const_value is not None),
        "operators": {"source": _operators(prepared.captured.model), "canonical": _operators(prepared.canonical)},
        "targets": {name: _answer(findings) for name, findings in asked.items()},
    }
    return Result(facts, (*prepared.captured.findings, *(f for findings in asked.values() for f in findings)))


def _installed() -> list[Target]:
    """The targets whose toolchain is installed, or that need none."""
    return [target for target in map(load_target, target_names()) if not missing_requirements(target)]


def _output(value: ir.Value) -> str:
    shape = ",".join(str(d) for d in value.shape) if value.shape is not None else "?"
    dtype = value.dtype.numpy().name if value.dtype is not None else "?"
    return f"{value.name}:{dtype}[{shape}]"


def _operators(model: ir.Model) -> dict[str, int]:
    counts = Counter(f"{n.domain}.{n.op_type}" if n.domain else n.op_type for n in model.graph)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _answer(findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "convertible": not any(f.severity == "error" for f in findings),
        "findings": [asdict(f) for f in findings],
    }
