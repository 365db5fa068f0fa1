"""What a target is: the protocol and the data that cross it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import onnx_ir as ir

from edgeport.findings import Finding
from edgeport.quantize.plan import Plan
from edgeport.quantize.scheme import Scheme
from edgeport.validate.runner import ArtifactRunner
from edgeport.validate.second import SecondRunner


@dataclass(frozen=True)
class Profile:
    """A device as data (a TOML file in `targets/profiles`)."""

    name: str
    target: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def facts_of(profile: Profile | None) -> dict[str, Any]:
    """A device's facts and its name, as plans hold them; empty without a device."""
    return {} if profile is None else {**profile.facts, "name": profile.name}


@dataclass(frozen=True)
class Artifact:
    """What `lower` wrote.

    Attributes:
        target: the target's name.
        precision: the precision it was lowered with.
        path: the main file or folder.
        files: every file written, the main one included.
        findings: remarks of the lowering about its own output, e.g. operators that fall to a slow kernel.
        facts: JSON-ready facts for the report (operator counts, number of transposes, ...).
        dtypes: numpy dtypes of inputs and outputs whose arrays it takes or gives in another than the source's.
    """

    target: str
    precision: str
    path: Path
    files: tuple[Path, ...]
    findings: tuple[Finding, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)


class Target(Protocol):
    """One deployment format. Implementations import their toolchain lazily, inside `lower` and `runner`."""

    @property
    def name(self) -> str:
        """Its name on the command line, which is also its output folder."""

    @property
    def suffix(self) -> str:
        """Ending of its main file or folder, e.g. `.tflite`; `validate` finds the target by it."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """The `--precision` values it takes."""

    @property
    def schemes(self) -> Mapping[str, tuple[str, ...]]:
        """The `--scheme` values it takes, `default` among them -> the graph passes that each adds."""

    @property
    def ends(self) -> tuple[str, ...]:
        """What it can do about inputs and outputs when asked to.

        `nhwc` of `--input-layout`; `int8`, `uint8`, `int16` and `float16` of `--io-dtype`; `images` of `--image-input`;
        `shapes` of `--shapes` (see `edgeport.shapes.TakesShapes`); `states` of `--state`; `engine` of `--build-engine`
        (see `BuildsEngines`).
        """

    @property
    def toolchain(self) -> Mapping[str, str]:
        """Importable module -> the pip requirement that provides it."""

    def scheme(self, precision: str, profile: Profile | None, name: str = "default") -> Scheme:
        """What the target's kernels demand at that precision; `name` is one of `schemes`.

        Raises:
            UsageError: there is no such scheme at that precision.
        """

    def check(self, graph: ir.Model, precision: str, profile: Profile | None) -> list[Finding]:
        """Every reason, at once, why the canonical graph cannot be lowered, with node and way out."""

    def lower(self, graph: ir.Model, plan: Plan, out: Path, name: str) -> Artifact:
        """Writes the artifact below the existing folder `out`; the same arguments give the same bytes."""

    def runner(self, artifact: Artifact, graph: ir.Model) -> ArtifactRunner:
        """Loads the artifact in the most faithful runtime on this machine; `graph` gives names and shapes."""

    def second_runner(self, artifact: Artifact, graph: ir.Model) -> SecondRunner | None:
        """Another runtime for the same file, None where there is none, or it is not installed or not meant for it."""


class BuildsEngines(Protocol):
    """A target with `engine` in its `ends`; its `lower` builds one where the plan says `build_engine`."""

    def check_device(self, profile: Profile | None) -> None:
        """Refuses a machine on which the engine could not be built and run.

        Raises:
            ToolchainError: says what is missing, or is not that of the device.
        """
