"""`inspect --for`: an ONNX file as it is, against the rules of a device; nothing is converted and nothing run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import onnx_ir as ir

from edgeport.capture.definitions import check_nodes
from edgeport.capture.onnx_file import read_onnx_file
from edgeport.capture.onnx_graph import read_graph
from edgeport.entry import is_entry
from edgeport.errors import ModelError, UsageError
from edgeport.findings import Finding, gathered
from edgeport.results import Result
from edgeport.targets.contract import Profile, Target
from edgeport.targets.registry import load_profile, load_target, profile_names

_OF_TORCH = (".py", ".pt2", ".pt", ".pth", ".ckpt")


class Lints(Protocol):
    """A target with rules for files that it did not write itself."""

    def lint(self, model: ir.Model, path: Path, profile: Profile) -> Sequence[Finding]:
        """Every place where a file breaks a rule.

        Args:
            model: what is in the file; it is not changed.
            path: the file.
            profile: the device that it is for.
        """


def lint_for(source: Any, device: str) -> Result:
    """Checks an ONNX file against a device's rules.

    Args:
        source: path of an .onnx file, quantized or not; it may be one that cannot be exported.
        device: name of a profile.

    Returns:
        Facts: name, sha256, device, target, opset, inputs, outputs, operators, accepted, and every finding. The
        findings of the result are one for each rule.

    Raises:
        UsageError: there is no such file or device, the source is none, or the device's target has no such rules.
        ModelError: the file cannot be read, or breaks a rule whose finding is an error; `result` is then what would
            have been returned.
    """
    profile = load_profile(device, "--for")
    target: Target | Lints = load_target(profile.target)
    if not hasattr(target, "lint"):
        able = sorted(name for name in profile_names() if hasattr(load_target(load_profile(name).target), "lint"))
        raise UsageError(
            f"--for {device}: {profile.target} has no rules for files that it did not write; devices that have: "
            f"{', '.join(able) or 'none'}"
        )
    path = _onnx_path(source)
    proto, digest = read_onnx_file(path)
    model, _ = read_graph(proto, str(path))
    check_nodes(model, str(path))
    try:
        found = list(target.lint(model, path, profile))
    except ir.serde.SerdeError as error:  # of text that is none, in places that no check looks at
        raise ModelError(f"{path} is damaged: {_cause(error)}; export the model again") from error
    errors = [finding for finding in found if finding.severity == "error"]
    graph = model.graph
    facts = {
        "name": path.stem,
        "sha256": digest,
        "device": device,
        "target": profile.target,
        "opset": model.opset_imports.get(""),
        "inputs": [_end(value) for value in graph.inputs],
        "outputs": [_end(value) for value in graph.outputs],
        "operators": _operators(model),
        "accepted": not errors,
        "findings": [asdict(finding) for finding in found],
    }
    result = Result(facts, gathered(found))
    if errors:
        rules = len({finding.code for finding in errors})
        message = f"{path} is not for {device}: it breaks {rules} rule(s) in {len(errors)} place(s), first: "
        refused = ModelError(message + errors[0].message, result.findings)
        refused.result = result
        raise refused
    return result


def _onnx_path(source: Any) -> Path:
    if isinstance(source, str | Path) and not is_entry(str(source)):
        path = Path(source)
        if path.suffix.lower() not in _OF_TORCH:
            if not path.exists():
                raise UsageError(f"no such file: {path}")
            return path
    shown = source if isinstance(source, str | Path) else f"a {type(source).__name__}"
    raise UsageError(f"--for reads an .onnx file as it is, and {shown} is none; export it to ONNX first")


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


def _end(value: ir.Value) -> str:
    shape = "?" if value.shape is None else ",".join("?" if str(d) == "None" else str(d) for d in value.shape)
    return f"{value.name}:{'?' if value.dtype is None else value.dtype.name.lower()}[{shape}]"


def _operators(model: ir.Model) -> dict[str, int]:
    counts = Counter(f"{n.domain}.{n.op_type}" if n.domain else n.op_type for n in model.graph.all_nodes())
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
