"""The statistics for all targets at once: from a file, from the cache, or from one run over the samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeport.calibration import Statistics, cached_collect, check_samples, graph_digest
from edgeport.datasets import Datasets
from edgeport.errors import CalibrationError
from edgeport.findings import Finding
from edgeport.planning import Assigned, forms_to_observe, powers_to_observe, tensors_to_observe
from edgeport.preparation import Prepared
from edgeport.progress import Progress, counter
from edgeport.side_branches import with_branches


@dataclass(frozen=True)
class Observed:
    """Statistics (None where no scheme needs any) and what was noticed about the data."""

    statistics: Statistics | None
    findings: tuple[Finding, ...] = ()


def observe(
    prepared: Prepared,
    assigned: Sequence[Assigned],
    datasets: Datasets,
    file: Path | None,
    *,
    allow_suspicious: bool,
    cache: bool,
    progress: Progress,
) -> Observed:
    """Gets the statistics that the schemes need, and those that they can use if there is data.

    Raises:
        CalibrationError: the data or the file cannot be used.
    """
    needing = [a for a in assigned if a.scheme.needs_data]
    names = tensors_to_observe(needing)
    powers = powers_to_observe(assigned)
    if not names and not powers:
        return Observed(None)
    if file is not None:
        statistics = Statistics.load(file)
        if statistics.graph != graph_digest(prepared.canonical):
            raise CalibrationError(
                f"--statistics {file.name} was collected on another model (or by another version, or with other "
                "passes); write it anew with `edgeport calibrate`"
            )
        return Observed(statistics, (*statistics.findings(), *_without_powers(file.name, statistics, powers)))
    if datasets.calibration is None:
        if not names:
            return Observed(None)
        raise CalibrationError("no calibration samples were given (--calib)")
    findings = check_samples(datasets.calibration, allow_suspicious=allow_suspicious)
    count = counter(progress, "calibrate", len(datasets.calibration))
    whole = with_branches(prepared.canonical, forms_to_observe(needing), names)
    statistics = cached_collect(
        whole,
        datasets.calibration,
        dict.fromkeys(names, "histogram"),
        powers=powers,
        progress=count,
        use_cache=cache,
    )
    if whole is not prepared.canonical:
        statistics = replace(statistics, graph=graph_digest(prepared.canonical))  # whose values they are
    return Observed(statistics, (*findings, *statistics.findings()))


def _without_powers(file: str, statistics: Statistics, powers: Mapping[str, int]) -> tuple[Finding, ...]:
    missing = [name for name in powers if name not in statistics.powers]
    if not missing:
        return ()
    message = f"{file} does not say how much the channels of {len(missing)} tensor(s) carry: weights there count alike"
    hint = "calibrate again with this target and --precision: palettes follow what matters, biases each channel's mean"
    return (Finding("info", "no-importance", message, hint=hint),)
