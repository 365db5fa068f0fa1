"""`--build-engine`: an engine for the GPU of this machine, built here, where TensorRT and the GPU are."""

from __future__ import annotations

import functools
import importlib
import json
import runpy
from pathlib import Path
from typing import Any

from edgeport.errors import ModelError, ToolchainError, UsageError
from edgeport.targets.tensorrt.board import FIRST_TYPED, Board
from edgeport.targets.tensorrt.log import Lines, listening
from edgeport.targets.tensorrt.version import Version

SUFFIX = ".engine"
ALWAYS_TYPED = Version(11, 0)
"""Since then the types of a network are those of its file, and no flag says otherwise."""
_SCRIPTS = Path(__file__).parent / "scripts"


def check_device(board: Board) -> None:
    """Refuses to build where the engine could not run.

    Raises:
        ToolchainError: TensorRT, CUDA or a GPU is missing, or they are not those of the board.
        UsageError: exports for the board build an engine in any case.
    """
    if board.engine:
        raise UsageError(f"--build-engine: an export for {board.name} builds its engine without a GPU; leave it out")
    trt, cuda = installed_tensorrt(), script("infer")
    try:
        here = cuda["Cuda"]().compute_capability()
    except cuda["EngineError"] as error:
        raise _refused(f"there is no GPU to build for ({error})") from error
    version = Version.parse(trt.__version__)
    if board.sm and board.sm != here:
        raise _refused(f"the GPU here has compute capability {here}, {board.name} has {board.sm}")
    if not board.oldest <= version or (version.major, version.minor) > (board.newest.major, board.newest.minor):
        raise _refused(f"TensorRT {version} is installed here, the files are for {board.oldest} to {board.newest}")


def build_engine(folder: Path) -> tuple[Path, dict[str, str]]:
    """Builds the engine that build.sh would build on the board.

    Args:
        folder: of the bundle: the models, and bundle.json, which says what they are.

    Returns:
        The engine, `NAME.PRECISION.engine` in the folder, and facts about it.

    Raises:
        ToolchainError: TensorRT is not installed.
        ModelError: TensorRT does not parse the model or finds no kernels for it.
    """
    trt = installed_tensorrt()
    version = Version.parse(trt.__version__)
    bundle = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    rules = script("recognize")
    try:
        choice = rules["choose"](bundle, bundle["precision"], (version.major, version.minor, version.patch), False, -1)
    except rules["Stop"] as stop:
        raise ModelError(f"--build-engine: {stop}") from stop
    model = folder / bundle["models"][choice.model][0]
    path = folder / f"{bundle['name']}.{bundle['precision']}{SUFFIX}"
    path.write_bytes(serialized(trt, model, choice.mode, version))
    return path, {"engine": path.name, "engine_from": model.name, "tensorrt": str(version)}


def serialized(trt: Any, model: Path, mode: str, version: Version) -> bytes:
    """An ONNX file as an engine.

    Args:
        trt: the module `tensorrt`.
        model: the file; constants that lie beside it are found.
        mode: `float`, `half` (TensorRT chooses where), `explicit` (Q/DQ, and halves where TensorRT chooses) or `typed`
            (the file's types); as build.sh turns it into trtexec's flags.
        version: of TensorRT.

    Raises:
        ModelError: TensorRT does not parse the model or finds no kernels for it.
    """
    log, logger = listening(trt)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # how the bindings say that there is no builder
        raise _refused(f"TensorRT does not start ({_errors(log) or error})") from error
    network = builder.create_network(_network_flags(trt, mode, version))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(model)):
        raise ModelError(f"TensorRT {version} does not parse {model.name}: {_said(log)}")
    config = builder.create_builder_config()
    for flag in _builder_flags(mode, version):
        config.set_flag(getattr(trt.BuilderFlag, flag))
    log.clear()
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ModelError(f"TensorRT {version} builds no engine of {model.name}: {_said(log)}")
    return bytes(engine)


def _said(log: Lines) -> str:
    return _errors(log) or "it gives no reason"


def _errors(log: Lines) -> str:
    return "; ".join(" ".join(text.split()) for kind, text in log if kind == "ERROR")


def _network_flags(trt: Any, mode: str, version: Version) -> int:
    """Explicit batches had to be asked for before TensorRT 10, strong types between 10 and 11."""
    flags = trt.NetworkDefinitionCreationFlag
    if version < FIRST_TYPED:
        return 1 << int(flags.EXPLICIT_BATCH)
    return 1 << int(flags.STRONGLY_TYPED) if mode == "typed" and version < ALWAYS_TYPED else 0


def _builder_flags(mode: str, version: Version) -> tuple[str, ...]:
    """Precisions that TensorRT may choose; it has none to choose since 11."""
    if version >= ALWAYS_TYPED:
        return ()
    return {"half": ("FP16",), "explicit": ("INT8", "FP16")}.get(mode, ())


def installed_tensorrt() -> Any:
    """The module `tensorrt`.

    Raises:
        ToolchainError: it is not here, or a library that it needs.
    """
    try:
        return importlib.import_module("tensorrt")
    except Exception as error:  # the bindings raise whatever the loader of libraries says
        said = " ".join(str(error).split())
        raise _refused(f"TensorRT for Python is not installed here ({said})") from error


def _refused(reason: str) -> ToolchainError:
    return ToolchainError(f"--build-engine: {reason}; leave it out: build.sh builds the engine on the board")


@functools.cache
def script(name: str) -> dict[str, Any]:
    """What one of the scripts for the board defines; they are files to copy, not modules."""
    return runpy.run_path(str(_SCRIPTS / f"{name}.py"))
