"""The board that the files are for: a device profile's facts, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgeport.findings import Finding
from edgeport.targets.tensorrt.version import Version

Dialect = Literal["trt8", "trt10"]

FIRST_TYPED = Version(10, 0)
"""Since then a network may be strongly typed; from 11 on every one is."""
OLDEST = Version(8, 6)
"""Of boards that are not named."""
NEWEST = Version(11, 99)
"""Of boards that are not named."""


@dataclass(frozen=True)
class Board:
    """A board with the TensorRT that its JetPack brings.

    Attributes:
        name: of the profile; empty where none was given.
        device: in words.
        sm: compute capability, e.g. `8.7`; empty where any board is meant.
        jetpack: oldest and newest JetPack, e.g. `("6.0", "6.2")`; empty without a Jetson.
        oldest: the oldest TensorRT that must take the files.
        newest: the newest.
        opset: the newest ONNX opset that all of them read.
        dialect: how Q/DQ are written.
        typed: whether a file with float16 tensors is made for strongly typed networks.
        cache: whether a calibration cache is made.
        dla: number of deep learning accelerators that can be used.
        precisions: the `--precision` values that run as such.
        no_int8: why int8 is not among them; empty where it is.
        engine: `rtx` where the export builds the engine; empty where the board does.
        gpus: what that engine is for, as TensorRT for RTX names compute capabilities, e.g. `SM86`.
    """

    name: str = ""
    device: str = "any board"
    sm: str = ""
    jetpack: tuple[str, ...] = ()
    oldest: Version = OLDEST
    newest: Version = NEWEST
    opset: int = 17
    dialect: Dialect = "trt8"
    typed: bool = True
    cache: bool = True
    dla: int = 0
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8")
    no_int8: str = ""
    engine: str = ""
    gpus: tuple[str, ...] = ()


def board_of(facts: Mapping[str, Any]) -> Board:
    """The board that a profile describes; empty facts mean any board with TensorRT 8.6 or newer."""
    if not facts:
        return Board()
    oldest, newest = (Version.parse(text) for text in facts["tensorrt"])
    return Board(
        name=facts.get("name", ""),
        device=facts["device"],
        sm=facts["sm"],
        jetpack=tuple(facts.get("jetpack", ())),
        oldest=oldest,
        newest=newest,
        opset=facts["opset"],
        dialect=facts["dialect"],
        typed=facts["typed"],
        cache=facts["cache"],
        dla=facts.get("dla", 0),
        precisions=tuple(facts["precisions"]),
        no_int8=facts.get("lacks", {}).get("int8", ""),
        engine=facts.get("engine", ""),
        gpus=tuple(facts.get("gpus", ())),
    )


def remarks_on_board(board: Board) -> list[Finding]:
    """What a user should know about the board whatever the model is: that it has no int8, and why."""
    if not board.no_int8:
        return []
    reason, _, _ = board.no_int8.partition(";")  # what follows is advice for who asked for int8
    message = f"{board.device} takes {' and '.join(board.precisions)} only: {reason}"
    return [Finding("info", "no-int8-on-board", message)]
