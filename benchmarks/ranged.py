"""edgeport's int8 files of one model under every range method, from one calibration run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeport.calibration import METHODS, Method, Statistics, collect
from edgeport.emission import check_target
from edgeport.planning import Assigned, assign_for, plan_for, tensors_to_observe
from edgeport.preparation import Prepared, prepare
from edgeport.sample import Sample
from edgeport.targets.tflite.target import TFLITE
from edgeport.validate.runner import Runner

__all__ = ["METHODS", "Calibrated", "calibrated", "int8_runner"]


@dataclass(frozen=True)
class Calibrated:
    """A model that has been through calibration once; ranges are chosen from it afterwards."""

    prepared: Prepared
    assigned: Assigned
    statistics: Statistics

    @property
    def reference(self) -> Runner:
        """The source in ONNX Runtime, float."""
        return self.prepared.captured.reference


def calibrated(source: Path, samples: Sequence[Sample]) -> Calibrated:
    """Captures a model and collects the statistics that TFLite's int8 scheme asks for.

    Raises:
        EdgeportError: the model is refused.
    """
    prepared = prepare(source)
    check_target(TFLITE, prepared, "int8", None)
    assigned = assign_for(prepared.canonical, TFLITE.scheme("int8", None))
    requests = dict.fromkeys(tensors_to_observe([assigned]), "histogram")
    return Calibrated(prepared, assigned, collect(prepared.canonical, samples, requests))


def int8_runner(model: Calibrated, method: Method, folder: Path) -> Runner:
    """Writes the int8 file for one range method into `folder` and opens it in LiteRT."""
    plan = plan_for(model.assigned, model.statistics, method)
    artifact = TFLITE.lower(model.prepared.canonical, plan, folder, method)
    return TFLITE.runner(artifact, model.prepared.canonical)
