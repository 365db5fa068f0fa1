"""A device of this target: which integers its processor multiplies without loss, and where the file runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

FULL, REDUCED = 127, 64
"""Steps of int8 weights on either side of 0. 255 * 64 * 2 is the largest sum of two products that fits int16, in which
AVX2 adds them (docs/decisions/0018)."""
OPSET = 17
"""The oldest opset that files are written in: that of ONNX Runtime 1.12 (2022)."""


@dataclass(frozen=True)
class Device:
    """What the profile says.

    Attributes:
        name: of the profile; empty without one.
        weight_steps: the largest magnitude of an int8 weight.
        platform: which processor a .ort file is prepared for.
        browser: whether it is one.
        newest_opset: the last opset that the device's ONNX Runtime reads; None: any.
    """

    name: str = ""
    weight_steps: int = FULL
    platform: Literal["arm", "amd64"] = "arm"
    browser: bool = False
    newest_opset: int | None = None


def device_of(facts: Mapping[str, Any]) -> Device:
    """The device that a profile's facts describe; empty facts are those of any device."""
    return Device(
        facts.get("name", ""),
        REDUCED if facts.get("saturates", False) else FULL,
        facts.get("platform", "arm"),
        facts.get("browser", False),
        facts.get("newest-opset"),
    )
