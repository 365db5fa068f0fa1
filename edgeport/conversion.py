"""What `QuantizedTransformer.convert_quantization` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeport.findings import Finding
from edgeport.report.wording import closeness, size, worst_index
from edgeport.results import ExportResult


@dataclass(frozen=True)
class Conversion:
    """An export to one target, with the figures that are asked for first; printing it prints them.

    Attributes:
        export: the whole result.
        target: the target's name.
    """

    export: ExportResult
    target: str

    @property
    def report(self) -> Mapping[str, Any]:
        """What stands in report.json."""
        return self.export.report

    @property
    def artifacts(self) -> Mapping[str, Path]:
        """Target -> its file."""
        return self.export.artifacts

    @property
    def artifact(self) -> Path:
        """The file that ships."""
        return self.export.artifacts[self.target]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Remarks about the model, the data and the file."""
        return self.export.findings

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return int(self._facts["bytes"])

    @property
    def float_size(self) -> int | None:
        """Bytes of the target's file in float32; None if nothing was measured."""
        measured: int | None = self._facts["float_bytes"]
        return measured

    @property
    def sqnr(self) -> float | None:
        """Signal to noise of the worst output beside the float model's, in dB.

        None where nothing was measured, or nothing differs.
        """
        outputs = self._rungs["total"]["outputs"] if self._rungs else []
        found = [output["sqnr_db"] for output in outputs if output["sqnr_db"] is not None]
        return min(found, default=None)

    @property
    def metrics(self) -> dict[str, Mapping[str, float]]:
        """Metric -> its value for `source`, the float model, and for `artifact`; `top1` where labels were given."""
        measured = (self._facts["ladder"] or {"metrics": []})["metrics"]
        return {metric["name"]: metric["values"] for metric in measured}

    def __str__(self) -> str:
        """Size, drift of the worst output by its steps, and metrics."""
        lines = [f"{self.artifact.name} for {self.target}: {size(self.size)}"]
        if self.float_size:
            lines[0] += f", {self.size / self.float_size:.0%} of {size(self.float_size)} in float32"
        for name, rung in self._rungs.items():
            if rung["outputs"]:
                lines.append(f"  {name:<13} {closeness(rung['outputs'][worst_index(self._facts['ladder'])])}")
        for name, values in self.metrics.items():
            lines.append(f"  {name:<13} float {values['source']:.4g}, {self.target} {values['artifact']:.4g}")
        return "\n".join(lines)

    @property
    def _facts(self) -> Mapping[str, Any]:
        facts: Mapping[str, Any] = self.export.report["targets"][0]
        return facts

    @property
    def _rungs(self) -> dict[str, Mapping[str, Any]]:
        ladder = self._facts["ladder"]
        return {} if ladder is None else {rung["name"]: rung for rung in ladder["rungs"]}
