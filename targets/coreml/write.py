"""From built functions to a package, with all that it says about itself."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgeport.errors import ModelError
from edgeport.quantize.plan import Plan, ShapesAs
from edgeport.targets.contract import Artifact
from edgeport.targets.coreml import classes, mil
from edgeport.targets.coreml.evaluator.package import open_package
from edgeport.targets.coreml.flexible import merge
from edgeport.targets.coreml.flexible_check import check_merged
from edgeport.targets.coreml.image_types import as_images
from edgeport.targets.coreml.interface import facts_of_ends, remarks
from edgeport.targets.coreml.lint import lint
from edgeport.targets.coreml.lower import Lowered
from edgeport.targets.coreml.pixels import declared
from edgeport.targets.coreml.save import IMAGES_KEY, LABELS_KEY, NAMES_KEY, STATES_KEY, save


def write(
    functions: Mapping[str, Lowered],
    graph: ir.Model,
    plan: Plan,
    system: str,
    path: Path,
    form: ShapesAs = "functions",
) -> Artifact:
    """Writes a package.

    Args:
        functions: name -> function, without objections; `main` is what runs where none is named. Several have the
            same names of inputs and outputs and share their weights.
        graph: what `main` was built from.
        plan: how it shows itself.
        system: deployment target.
        path: the folder to be made.
        form: what becomes of several functions: `enumerated` and `ranged` make one of them.

    Raises:
        ModelError: coremltools declines the program, or the functions do not make one.
    """
    lowered = functions["main"]
    if len(functions) > 1:
        lowered = replace(lowered, classes=None)  # coremltools has no classifiers of several functions
    options: dict[str, Any] = {}
    if lowered.classes is not None:
        found = lowered.classes
        options["classifier_config"] = mil.classifier(found.labels, found.feature, found.numbers.name)
    try:
        model = mil.convert(mil.program({n: f.function for n, f in functions.items()}), system, **options)
    except mil.BuilderError as error:
        raise ModelError(f"coremltools declines the program: {error}") from error
    names = {end.source: end.name for end in lowered.ends}
    colours = {names[name]: image.colour for name, image in plan.pixels.items()}

    notes = _notes(lowered, plan)
    if form == "functions":
        files = save(model, path, notes, lambda message: as_images(message, colours))
    else:
        files = _save_merged(model, path, notes, form, colours)
    facts = {"deployment": system, **facts_of_ends(lowered.ends)}
    labels = plan.description.labels
    if lowered.classes is not None:
        facts["classes"] = {"output": lowered.classes.source, "label": lowered.classes.feature}
    if lowered.states:
        facts["states"] = _states(lowered, plan)
    if plan.pixels:
        facts["images"] = declared(plan.pixels)
    findings = (
        *remarks(lowered.ends),
        *classes.remarks(labels, lowered.classes, list(graph.graph.outputs)),
        *(lint(open_package(path), lowered.canonical) if plan.precision != "fp32" else ()),
    )
    dtypes = {end.source: end.dtype for end in lowered.ends if end.dtype != end.wants}
    dtypes |= dict.fromkeys([*plan.states, *plan.states.values()], "float16")
    return Artifact("coreml", plan.precision, path, files, findings, facts, dtypes)


def _save_merged(
    model: Any, path: Path, notes: Mapping[str, str], form: ShapesAs, colours: Mapping[str, str]
) -> tuple[Path, ...]:
    """Saves functions as one, and runs it beside them.

    Raises:
        ModelError: they do not make one, or it computes something else.
    """

    def edit(message: Any) -> None:
        merge(message, form)
        as_images(message, colours)

    files = save(model, path, notes, edit)
    with tempfile.TemporaryDirectory(prefix="edgeport-") as scratch:
        apart = Path(scratch) / path.name
        save(model, apart, notes, lambda message: as_images(message, colours))
        check_merged(apart, path)
    return files


def _states(lowered: Lowered, plan: Plan) -> dict[str, dict[str, str]]:
    return {name: {"coreml_name": key, "output": plan.states[name]} for name, key in lowered.states.items()}


def _notes(lowered: Lowered, plan: Plan) -> dict[str, str]:
    """User-defined metadata."""
    renamed = {identifier: own for identifier, own in lowered.canonical.items() if identifier != own}
    notes = {NAMES_KEY: json.dumps(renamed, sort_keys=True)}
    if plan.pixels:
        notes[IMAGES_KEY] = json.dumps(declared(plan.pixels), sort_keys=True)
    if lowered.states:
        notes[STATES_KEY] = json.dumps(_states(lowered, plan), sort_keys=True)
    if plan.description.labels:
        notes[LABELS_KEY] = json.dumps(plan.description.labels)
    return notes
