"""`export`: source -> canonical graph -> plans -> artifacts, each proven, published as one folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from edgeport.available import available, named
from edgeport.bundle.manifest import write_manifest
from edgeport.bundle.publish import check_replaceable, publishing
from edgeport.calibration import Preprocessing, Statistics
from edgeport.datasets import Datasets, open_datasets
from edgeport.description import describe
from edgeport.devices import devices_for
from edgeport.emission import Evidence
from edgeport.entry import is_entry
from edgeport.errors import UsageError
from edgeport.export_options import ExportOptions, check_options, scheme_passes
from edgeport.findings import Finding
from edgeport.layer_precision import match_layers, parse_layer
from edgeport.observation import observe
from edgeport.preparation import Prepared, check_capture, prepare
from edgeport.presentation import Presentation, check_images
from edgeport.progress import Progress, Silent
from edgeport.quantize.plan import InputLayout, IoDtype, ShapesAs
from edgeport.quantize.scheme_options import Storage
from edgeport.report.build import build_report, write_report
from edgeport.report.contents import ExportReport
from edgeport.results import ExportResult
from edgeport.sample import InputSpec
from edgeport.shapes import prepare_shapes
from edgeport.states import parse_states
from edgeport.targets.contract import facts_of
from edgeport.targets.registry import load_target
from edgeport.validate.budgets import check_names, parse_budget
from edgeport.validate.user_metric import as_metric, load_metric
from edgeport.work import Work, assign_target, emit_target, plan_target, target_report

DEFAULT_RANGES = "mse"
_CHECKED_SAMPLES = 2
_T = TypeVar("_T")


def export(
    source: Any,
    *,
    target: str | Sequence[str] = "tflite",
    profile: str | Sequence[str] | None = None,
    precision: str = "int8",
    scheme: str = "default",
    ranges: str = DEFAULT_RANGES,
    calib: Any = None,
    data: Any = None,
    inputs: Sequence[str | InputSpec] = (),
    shapes: Sequence[str] = (),
    shapes_as: ShapesAs = "functions",
    state: Sequence[str] = (),
    input_layout: InputLayout = "source",
    io_dtype: IoDtype = "source",
    block_size: int | None = None,
    group_size: int | None = None,
    sparsity: float | None = None,
    layer_precision: Sequence[str] = (),
    image_input: bool = False,
    build_engine: bool = False,
    labels: str | Path | None = None,
    metric: Any = None,
    budget: Sequence[str] = (),
    statistics: str | Path | None = None,
    out: str | Path = "out",
    preprocessing: Mapping[str, Any] | None = None,
    tokenizer: str | Path | None = None,
    drop_passes: Sequence[str] = (),
    add_passes: Sequence[str] = (),
    dry_run: bool = False,
    validate: bool = True,
    allow_suspicious_data: bool = False,
    cache: bool = True,
    progress: Progress | None = None,
) -> ExportResult:
    """Builds a model for every target and measures how far each file is from the float model.

    Args:
        source: an ONNX file, a .pt2 file, `file.py:callable`, an nn.Module or an ExportedProgram.
        target: one or several target names; `all` for every one whose toolchain is installed and that takes the other
            options.
        profile: one or several device profiles, at most one for each target.
        precision: fp32, fp16, int8, int8-dynamic, int8-weights, int4-weights, int16x8, palettized-2 (-4, -6, -8) or
            sparse; each target takes some of them.
        scheme: `full-integer` leaves no float operator between the inputs and the outputs, for NPUs and
            microcontrollers; `default` runs in integers what the target's CPU kernels run fast.
        ranges: how clipping ranges follow from the statistics: min-max, percentile, entropy or mse.
        calib: calibration samples (see docs/calibration.md). int8 needs them, or `statistics`.
        data: held-out samples for the drift; by default the last eighth of `calib`.
        inputs: `NAME:DTYPE[SHAPE]`, to fix open dimensions.
        shapes: `NAME=1x3x320x320,OTHER=...`, each a further set of input shapes that the artifact is to take (Core ML:
            a function for each, with the same weights). Each is captured, run and compared by itself.
        shapes_as: `functions`; or `enumerated` or `ranged`, which make one function for these shapes, or for all in
            between, if the model's program is the same at each.
        state: `INPUT=OUTPUT`, an output that is the input of the next run: the artifact keeps it itself (Core ML).
        input_layout: `nhwc` makes the artifact take four-dimensional inputs as camera buffers lie, channels last;
            samples and `inputs` stay in the source's order.
        io_dtype: `int8` or `uint8` (of precision int8) or `int16` (of int16x8) makes the artifact take and give
            integers where its kernels do, `float16` halves where the source has float32 (Core ML); samples, drift
            and golden references stay in the source's numbers.
        block_size: how many int4 weights share a scale (32, 64, 128, 256), 0 for one scale a channel; default 32.
        group_size: how many channels share a palette, 0 for one palette a tensor; the default is the target's.
        sparsity: of precision sparse, the share of each layer's weights that is made zero; by default none are but
            those that are zero already.
        layer_precision: `GLOB=PRECISION`: another precision for the nodes whose name, or a tensor they write, matches;
            the last match decides.
        image_input: inputs that `preprocessing` describes are images: the artifact takes pixels (Core ML). Samples stay
            normalized.
        build_engine: build an engine for the GPU of this machine, run it and judge it (TensorRT). It is for this GPU
            and this version of TensorRT only, and differs from one build to the next.
        labels: a text file with the names of the classes, one a line, which the artifact is to carry.
        metric: `file.py:callable` or a callable, run on the float model and on the artifact.
        budget: e.g. `sqnr>=25`; over it, BudgetError.
        statistics: a statistics file of an earlier run, instead of calibration.
        out: the output folder, replaced as a whole when everything has succeeded.
        preprocessing: how images become inputs.
        tokenizer: tokenizer.json for .jsonl data.
        drop_passes: names of graph passes to leave out.
        add_passes: names of graph passes to run as well.
        dry_run: make the plans, write nothing.
        validate: run the artifact and measure the drift; without it the verdict is "checked-not-run".
        allow_suspicious_data: accept calibration data that looks like noise or constants.
        cache: reuse statistics of the same graph and data.
        progress: told about the stages.

    Raises:
        EdgeportError: see `edgeport.errors`. With several targets, the others are still built and published; the
            error is the worst one, and its `result` says what was.
    """
    progress = progress or Silent()
    if statistics is not None and calib is not None:
        raise UsageError("--statistics stands instead of --calib; give held-out samples with --data")
    asked = _listed(target)
    names = named(asked)
    inputs, budget, layer_precision = _listed(inputs), _listed(budget), _listed(layer_precision)
    shapes, state, profiles = _listed(shapes), _listed(state), _listed(profile or ())
    options = ExportOptions(
        tuple(load_target(name) for name in names),
        devices_for(profiles, names),
        precision,
        scheme,
        ranges,
        input_layout,
        io_dtype,
        Storage(block_size, group_size, sparsity),
        image_input,
        tuple(parse_layer(text) for text in layer_precision),
        tuple(shapes),
        shapes_as,
        tuple(state),
        build_engine,
    )
    options, left_out = available(options, asked)
    check_options(options, has_data=statistics is not None or calib is not None)
    own = load_metric(metric) if isinstance(metric, str) else as_metric(metric) if metric is not None else None
    budgets = tuple(parse_budget(text) for text in budget)
    if budgets and not validate:
        raise UsageError("--budget needs the drift, which validate=False does not measure")
    if not dry_run:
        check_replaceable(Path(out))

    progress.stage("capture", None)
    passes = (*add_passes, *scheme_passes(options.targets, scheme))
    prepared = prepare(source, inputs, drop_passes, passes)
    further = prepare_shapes(source, shapes, prepared, drop_passes, passes)
    states = parse_states(state, prepared.inputs, prepared.runner.output_specs)
    description = describe(
        prepared.inputs,
        prepared.runner.output_specs,
        Preprocessing.parse(preprocessing) if preprocessing is not None else None,
        Path(labels) if labels is not None else None,
    )
    if image_input:
        check_images(description)
    tokenizer_path = Path(tokenizer) if tokenizer is not None else None
    pixels = description.images if image_input else None
    datasets = open_datasets(prepared, calib, data, preprocessing, tokenizer_path, pixels)
    check_names(budgets, metric=own, labelled=datasets.held_out.labels is not None)
    check_capture(prepared, datasets.held_out.read(0, min(_CHECKED_SAMPLES, len(datasets.held_out))))

    layers = match_layers(prepared.canonical.graph, options.layer_precision)
    works = [assign_target(t, prepared, options, layers) for t in options.targets]
    assigned = [w.assigned for w in works if w.assigned is not None]
    observed = observe(
        prepared,
        assigned,
        datasets,
        Path(statistics) if statistics is not None else None,
        allow_suspicious=allow_suspicious_data,
        cache=cache,
        progress=progress,
    )
    findings = (*left_out, *prepared.captured.findings, *datasets.findings, *observed.findings)
    shown = Presentation(input_layout, io_dtype, description, {}, image_input, states, shapes_as, build_engine, scheme)
    presentations = [replace(shown, device=facts_of(options.device(w.target))) for w in works]
    works = [
        plan_target(w, prepared, further, observed.statistics, ranges, presentation)
        for w, presentation in zip(works, presentations, strict=True)
    ]

    given = {
        "target": [one.name for one in options.targets],
        "profile": list(profiles),
        "precision": precision,
        "scheme": scheme,
        "ranges": ranges,
        "calib": _said(calib),
        "data": _said(data),
        "input": [str(i) for i in inputs],
        "shapes": list(shapes),
        "shapes_as": shapes_as,
        "state": list(state),
        "input_layout": input_layout,
        "io_dtype": io_dtype,
        "block_size": block_size,
        "group_size": group_size,
        "sparsity": sparsity,
        "layer_precision": list(layer_precision),
        "image_input": image_input,
        "build_engine": build_engine,
        "labels": _said(labels),
        "metric": _said(metric),
        "budget": list(budget),
        "statistics": _said(statistics),
        "preprocessing": preprocessing,
        "tokenizer": _said(tokenizer),
        "passes_drop": list(drop_passes),
        "passes_add": list(add_passes),
    }
    run = _Run(prepared, precision, given, datasets, observed.statistics, findings)
    if dry_run:
        return run.finish(works, None)
    evidence = None
    if validate:
        truth = datasets.held_out.labels
        evidence = Evidence(datasets.held_out, None if truth is None else list(truth), own, budgets)
    count = len(datasets.held_out)
    with publishing(Path(out)) as folder:
        works = [
            emit_target(w, options.device(w.target), prepared, further, folder, evidence, count, progress)
            for w in works
        ]
        if all(w.error is not None for w in works):
            run.finish(works, None)
        progress.stage("report", None)
        run.write(works, folder)
    return run.finish(works, Path(out))


@dataclass(frozen=True)
class _Run:
    """What all targets of one export share."""

    prepared: Prepared
    precision: str
    options: Mapping[str, Any]
    datasets: Datasets
    statistics: Statistics | None
    findings: tuple[Finding, ...]

    def report(self, works: Sequence[Work]) -> ExportReport:
        return ExportReport(
            self.prepared.captured.name,
            self._source,
            self.precision,
            self.options,
            self._data,
            tuple(target_report(w, self.precision) for w in works),
            self.findings,
        )

    def write(self, works: Sequence[Work], folder: Path) -> None:
        """Writes what stands beside the artifacts."""
        if self.statistics is not None:
            self.statistics.save(folder / "statistics.safetensors")
        write_report(folder, self.report(works))
        toolchains = [req for w in works for req in w.target.toolchain.values()]
        write_manifest(folder, source=self._source, data=self._data, options=self.options, toolchains=toolchains)

    def finish(self, works: Sequence[Work], out: Path | None) -> ExportResult:
        """The result; raises the worst failure with the result in it."""
        artifacts = {
            w.target.name: out / w.emitted.artifact.path.relative_to(w.folder)
            for w in works
            if out is not None and w.emitted is not None and w.error is None and w.folder is not None
        }
        result = ExportResult(
            out,
            artifacts,
            build_report(self.report(works)),
            (*self.findings, *(f for w in works for f in w.findings)),
            {w.target.name: str(w.error) for w in works if w.error is not None},
        )
        errors = [w.error for w in works if w.error is not None]
        if errors:
            worst = max(errors, key=lambda e: e.exit_code)
            worst.findings = result.findings
            worst.result = result
            raise worst
        return result

    @property
    def _source(self) -> dict[str, Any]:
        weights = self.prepared.canonical.graph.initializers.values()
        size = sum(v.const_value.nbytes for v in weights if v.const_value is not None)
        captured = self.prepared.captured
        return {"name": captured.name, "sha256": captured.digest, "bytes": size}

    @property
    def _data(self) -> dict[str, Any]:
        facts = self.datasets.describe()
        if self.statistics is not None:
            facts["statistics"] = {"samples": self.statistics.samples, "sha256": self.statistics.digest()}
        return facts


def _listed(given: str | Sequence[_T]) -> Sequence[str | _T]:
    """One text stands for a list of it: a string is a sequence of characters, too."""
    return [given] if isinstance(given, str) else given


def _said(argument: Any) -> str | None:
    """How an argument is named in reports: a path without its folder, a Python object by its name.

    The folder depends on where the command ran, and reports do not.
    """
    if argument is None:
        return None
    if not isinstance(argument, str | Path):
        return str(getattr(argument, "__name__", type(argument).__name__))
    text = str(argument)
    file, colon, name = text.rpartition(":") if is_entry(text) else (text, "", "")
    return Path(os.path.abspath(file)).name + colon + name
