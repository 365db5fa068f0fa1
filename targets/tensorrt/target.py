"""The TensorRT target: ONNX files for Jetson boards, checked as far as it goes without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgeport.errors import UsageError
from edgeport.findings import Finding
from edgeport.quantize.plan import Plan
from edgeport.quantize.scheme import Scheme
from edgeport.targets.contract import Artifact, Profile, facts_of
from edgeport.targets.onnx_file import save
from edgeport.targets.opset.lower import attempt
from edgeport.targets.tensorrt.board import Board, board_of, remarks_on_board
from edgeport.targets.tensorrt.bundle import write_bundle
from edgeport.targets.tensorrt.cache import calibration_cache
from edgeport.targets.tensorrt.engine import SUFFIX, build_engine, check_device
from edgeport.targets.tensorrt.engine_runner import EngineRunner
from edgeport.targets.tensorrt.forms import in_own_forms
from edgeport.targets.tensorrt.limits import objections
from edgeport.targets.tensorrt.lint import lint_file
from edgeport.targets.tensorrt.models import TWIN, has_cache, models_of
from edgeport.targets.tensorrt.proof import Builds, linted, parsed, proven_with
from edgeport.targets.tensorrt.rtx import build_rtx, require_builder
from edgeport.targets.tensorrt.runner import OnnxFileRunner, TwinRunner
from edgeport.targets.tensorrt.scheme import PRECISIONS, tensorrt_scheme

CACHE = "calibration.cache"
_EXAMPLES = {"int8-weights": "jetson-orin-jp7", "int4-weights": "jetson-orin-jp7", "fp8": "jetson-thor-jp7"}
"""A board for each precision that not every one has."""


@dataclass(frozen=True)
class TensorrtTarget:
    """TensorRT: a folder with ONNX files and the scripts that build an engine from them on the board."""

    name: str = "tensorrt"
    suffix: str = ".onnx"
    precisions: tuple[str, ...] = PRECISIONS
    schemes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"default": ()})
    ends: tuple[str, ...] = ("engine",)
    toolchain: Mapping[str, str] = field(default_factory=dict)

    def scheme(self, precision: str, profile: Profile | None, name: str = "default") -> Scheme:
        """Where TensorRT's explicit quantization wants Q/DQ at that precision.

        Raises:
            UsageError: there is no such precision, or no profile names a board that has it.
        """
        board = board_of(facts_of(profile))
        if profile is None and precision in PRECISIONS and precision not in board.precisions:
            raise UsageError(
                f"{precision} is not for every board with TensorRT {board.oldest.major}.{board.oldest.minor}: "
                f"give --profile, e.g. {_EXAMPLES[precision]}; without one there are {', '.join(board.precisions)}"
            )
        return tensorrt_scheme(precision, board)

    def check(self, graph: ir.Model, precision: str, profile: Profile | None) -> list[Finding]:
        """Every node that the board's opset or parser does not have."""
        board = board_of(facts_of(profile))
        require_builder(board)
        lowered, refused = attempt(in_own_forms(graph, board), board.opset)
        return [*remarks_on_board(board), *(refused or objections(lowered, board))]

    def lower(self, graph: ir.Model, plan: Plan, out: Path, name: str) -> Artifact:
        """Writes `out/name.fp32.onnx`, its twins and the files of the plan's precision.

        Raises:
            ModelError: the board's opset cannot express a node, or TensorRT builds no engine of the file.
        """
        board = board_of(plan.device)
        models = models_of(graph, plan, board)
        remarks = [*linted(models, board), *_chosen_there(plan, models)]
        paths = {kind: save(model, out / f"{name}.{kind}{self.suffix}", self.name) for kind, model in models.items()}
        shipped = paths[plan.precision if plan.precision in paths else "fp32"]
        main = shipped[0]
        files = [path for written in paths.values() for path in written]
        cache = None
        if has_cache(plan, board):
            cache, uncovered = _written_cache(models["fp32"], plan, board, out)
            files.append(cache)
            remarks += uncovered
        remarks += parsed(written[0] for written in paths.values())
        if board.engine:
            engine, left_out = build_rtx(main, out / f"{name}.{plan.precision}", board)
            files.append(engine)
            remarks += left_out
        else:
            files += write_bundle(graph, plan, board, out, name, paths, cache)
        facts: dict[str, Any] = {"opset": board.opset, "dialect": board.dialect, **proven_with()}
        if plan.build_engine:
            main, built = build_engine(out)
            shipped = (main,)
            files.append(main)
            facts |= built
        facts["bytes"] = sum(path.stat().st_size for path in shipped)
        return Artifact(self.name, plan.precision, main, tuple(sorted(files)), tuple(remarks), facts)

    def lint(self, model: ir.Model, path: Path, profile: Profile) -> list[Finding]:
        """What any ONNX file breaks of TensorRT's rules on that device, see `edgeport.linting.Lints`."""
        return lint_file(model, path, board_of(facts_of(profile)))

    def check_device(self, profile: Profile | None) -> None:
        """Refuses `--build-engine` where TensorRT or a GPU is missing, or is not that of the device.

        Raises:
            ToolchainError: says which.
        """
        check_device(board_of(facts_of(profile)))

    def runner(self, artifact: Artifact, graph: ir.Model) -> OnnxFileRunner | EngineRunner:
        """The file in ONNX Runtime, as it is written; an engine on the GPU."""
        if artifact.path.suffix == SUFFIX:
            return EngineRunner(artifact.path, graph)
        floats = (path for path in artifact.files if path.name.endswith((".fp32.onnx", ".fp16.onnx")))
        beside = tuple(path for path in floats if path != artifact.path)
        shipped = [path for path in (artifact.path, self._twin(artifact)) if path.exists()]
        # Of the float twin of a drift ladder nobody asks what can be built.
        return OnnxFileRunner(artifact.path, graph, beside, Builds(shipped, ahead=artifact.precision != "fp32"))

    def second_runner(self, artifact: Artifact, graph: ir.Model) -> TwinRunner | None:
        """The quantized file's twin with halves, where there is one."""
        twin = self._twin(artifact)
        return TwinRunner(OnnxFileRunner(twin, graph)) if twin.exists() else None

    def _twin(self, artifact: Artifact) -> Path:
        path = artifact.path
        return path.with_name(f"{path.name.removesuffix(self.suffix)}{TWIN}{self.suffix}")


def _written_cache(float_model: ir.Model, plan: Plan, board: Board, out: Path) -> tuple[Path, tuple[Finding, ...]]:
    content, uncovered = calibration_cache(float_model, plan, board)
    path = out / CACHE
    path.write_bytes(content)
    return path, uncovered


def _chosen_there(plan: Plan, models: Mapping[str, ir.Model]) -> tuple[Finding, ...]:
    """Says that no file here holds the float16 numbers of an older TensorRT."""
    if plan.precision != "fp16" or "fp16" in models:
        return ()
    message = "TensorRT chooses on the board what computes in float16: the figures here are those of the float32 file"
    return (Finding("info", "fp16-on-board", message, hint="verify.py compares the engine's outputs there"),)


TENSORRT = TensorrtTarget()
