"""From built functions to a package, with all that it says about itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgeport.errors import ModelError
from edgeport.quantize.plan import Plan
from edgeport.targets.contract import Artifact
from edgeport.targets.coreml import classes, mil
from edgeport.targets.coreml.evaluator.package import open_package
from edgeport.targets.coreml.interface import facts_of_ends, remarks
from edgeport.targets.coreml.lint import lint
from edgeport.targets.coreml.lower import Lowered
from edgeport.targets.coreml.pixels import declared
from edgeport.targets.coreml.save import IMAGES_KEY, LABELS_KEY, NAMES_KEY, save


def write(lowered: Lowered, graph: ir.Model, plan: Plan, system: str, path: Path) -> Artifact:
    """Writes a package of one function.

    Args:
        lowered: the function, without objections.
        graph: what it was built from.
        plan: how it shows itself.
        system: deployment target.
        path: the folder to be made.

    Raises:
        ModelError: coremltools declines the program.
    """
    try:
        model = mil.convert(mil.program({"main": lowered.function}), system, **_options(lowered, plan))
    except mil.BuilderError as error:
        raise ModelError(f"coremltools declines the program: {error}") from error
    files = save(model, path, _notes(lowered, plan))
    facts = {"deployment": system, **facts_of_ends(lowered.ends)}
    labels = plan.description.labels
    if lowered.classes is not None:
        facts["classes"] = {"output": lowered.classes.source, "label": lowered.classes.feature}
    if plan.pixels:
        facts["images"] = declared(plan.pixels)
    findings = (
        *remarks(lowered.ends),
        *classes.remarks(labels, lowered.classes, list(graph.graph.outputs)),
        *(lint(open_package(path), lowered.canonical) if plan.precision != "fp32" else ()),
    )
    dtypes = {end.source: end.dtype for end in lowered.ends if end.dtype != end.wants}
    return Artifact("coreml", plan.precision, path, files, findings, facts, dtypes)


def _options(lowered: Lowered, plan: Plan) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if plan.pixels:
        colours = {name: image.colour for name, image in plan.pixels.items()}
        ends = [end for end in lowered.ends if end.kind == "input"]
        options["inputs"] = [mil.input_type(end.name, end.shape, colours.get(end.source)) for end in ends]
    if lowered.classes is not None:
        found = lowered.classes
        options["classifier_config"] = mil.classifier(found.labels, found.feature, found.numbers.name)
    return options


def _notes(lowered: Lowered, plan: Plan) -> dict[str, str]:
    """User-defined metadata."""
    renamed = {identifier: own for identifier, own in lowered.canonical.items() if identifier != own}
    notes = {NAMES_KEY: json.dumps(renamed, sort_keys=True)}
    if plan.pixels:
        notes[IMAGES_KEY] = json.dumps(declared(plan.pixels), sort_keys=True)
    if plan.description.labels:
        notes[LABELS_KEY] = json.dumps(plan.description.labels)
    return notes
