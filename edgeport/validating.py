"""`validate`: an existing artifact against its float source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeport.datasets import open_source
from edgeport.errors import BudgetError, ModelError, UsageError
from edgeport.preparation import check_capture, prepare
from edgeport.progress import Progress, Silent, counter
from edgeport.report.encode import jsonable
from edgeport.results import Result
from edgeport.sample import InputSpec
from edgeport.targets.contract import Artifact, Target
from edgeport.targets.onnx_file import mark_of
from edgeport.targets.registry import load_target, require_toolchain, target_names
from edgeport.validate.budgets import check_names, judge, over_budget, parse_budget
from edgeport.validate.ladder import measure_ladder
from edgeport.validate.layers import measure_layers
from edgeport.validate.user_metric import as_metric, load_metric


def validate(
    artifact: str | Path,
    source: Any,
    *,
    data: Any,
    inputs: Sequence[str | InputSpec] = (),
    metric: Any = None,
    budget: Sequence[str] = (),
    layers: bool = False,
    target: str | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    tokenizer: str | Path | None = None,
    progress: Progress | None = None,
) -> Result:
    """Runs an artifact of an earlier export beside its float source and measures the whole drift.

    Which step causes it only `export` can tell, which has the graphs in between.

    Args:
        artifact: the file, e.g. `out/tflite/model.tflite`; its ending says which target runs it,
            or where several have such files, what stands in it.
        source: the float model, as for `export`; so are the other arguments that `export` has.
        data: samples to compare on.
        layers: also compare the inner tensors that the artifact keeps.
        target: name of the target that runs it, where the file does not tell.

    Returns:
        Facts: artifact, target, verdict, samples, outputs (the metrics of each), metrics, budgets, and with `layers`
        also those.

    Raises:
        BudgetError: the drift is over a budget; the error carries the result.
        EdgeportError: the artifact, the model or the data cannot be used.
    """
    progress = progress or Silent()
    budgets = tuple(parse_budget(text) for text in budget)
    own = load_metric(metric) if isinstance(metric, str) else as_metric(metric) if metric is not None else None
    path = Path(artifact)
    chosen = _target_of(path, target)
    require_toolchain(chosen)
    progress.stage("capture", None)
    prepared = prepare(source, inputs)
    samples = open_source(prepared, data, preprocessing, Path(tokenizer) if tokenizer is not None else None)
    labels = samples.labels
    check_names(budgets, metric=own, labelled=labels is not None)
    check_capture(prepared, samples.read(0, min(1, len(samples))))
    runner = chosen.runner(Artifact(chosen.name, "", path, (path,)), prepared.canonical)
    ladder = measure_ladder(
        samples,
        source=prepared.captured.reference,
        canonical=prepared.runner,
        float_artifact=None,
        quantized=None,
        artifact=runner,
        labels=None if labels is None else list(labels),
        metric=own,
        progress=counter(progress, "validate", len(samples)),
    )
    results, remarks = judge(budgets, ladder)
    facts = {
        "artifact": str(path),
        "target": chosen.name,
        "verdict": ladder.verdict,
        "samples": ladder.samples,
        "outputs": jsonable(ladder.rung("total").outputs),
        "metrics": jsonable(ladder.metrics),
        "budgets": jsonable(results),
    }
    if layers:
        facts["layers"] = jsonable(measure_layers(samples, prepared.canonical, prepared.runner, runner))
    seen = (*ladder.findings, *runner.remarks, *remarks)
    result = Result(facts, (*prepared.captured.findings, *samples.findings, *seen))
    failed = over_budget(results)
    if failed is not None:
        error = BudgetError(f"{path.name} is {failed}", result.findings)
        error.result = result
        raise error
    return result


def _target_of(path: Path, name: str | None) -> Target:
    if not path.exists():
        raise UsageError(f"artifact {path} does not exist; give a file that `export` wrote")
    targets = [load_target(known) for known in target_names()] if name is None else [load_target(name)]
    fitting = [target for target in targets if path.suffix in _suffixes(target)]
    if len(fitting) > 1:
        mark = mark_of(path)
        fitting = [target for target in fitting if target.name == mark] or fitting
    if len(fitting) > 1:
        names = ", ".join(target.name for target in fitting)
        raise UsageError(f"artifact {path.name} may be for {names}, and does not say for which; give --target")
    if fitting:
        return fitting[0]
    known = ", ".join(f"{suffix} ({target.name})" for target in targets for suffix in _suffixes(target))
    raise ModelError(f"artifact {path.name}: its ending belongs to no target; known are {known}")


def _suffixes(target: Target) -> tuple[str, ...]:
    return (target.suffix, *getattr(target, "further_suffixes", ()))
