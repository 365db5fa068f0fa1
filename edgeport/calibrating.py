"""`calibrate`: one run over the samples, kept in a file for any number of exports."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeport.available import named
from edgeport.datasets import Datasets, open_source
from edgeport.devices import devices_for
from edgeport.errors import UsageError
from edgeport.export_options import check_precision, scheme_of, scheme_passes
from edgeport.layer_precision import match_layers, parse_layer
from edgeport.observation import observe
from edgeport.planning import assign_for
from edgeport.preparation import check_capture, prepare
from edgeport.progress import Progress, Silent
from edgeport.results import Result
from edgeport.sample import InputSpec
from edgeport.targets.registry import load_target


def calibrate(
    source: Any,
    *,
    calib: Any,
    out: str | Path,
    target: str | Sequence[str] = "tflite",
    profile: str | Sequence[str] | None = None,
    precision: str = "int8",
    scheme: str = "default",
    layer_precision: Sequence[str] = (),
    inputs: Sequence[str | InputSpec] = (),
    preprocessing: Mapping[str, Any] | None = None,
    tokenizer: str | Path | None = None,
    drop_passes: Sequence[str] = (),
    add_passes: Sequence[str] = (),
    allow_suspicious_data: bool = False,
    cache: bool = True,
    progress: Progress | None = None,
) -> Result:
    """Collects the statistics that the targets ask for, over all samples, and writes them to one file.

    Args:
        source: as for `export`; so are the other arguments that `export` has.
        calib: calibration samples; none is held out.
        out: the file to write, usually `statistics.safetensors`.

    Returns:
        Facts: statistics (the file), samples, tensors, sha256, data.

    Raises:
        EdgeportError: the model or the data cannot be used, or no scheme needs statistics.
    """
    progress = progress or Silent()
    asked = [target] if isinstance(target, str) else list(target)
    names = [name for name in named(asked) if name in asked or _takes(name, precision, scheme)]
    devices = devices_for([profile] if isinstance(profile, str) else profile or (), names)
    targets = [load_target(name) for name in names]
    passes = (*add_passes, *scheme_passes(targets, scheme))
    entries = tuple(parse_layer(text) for text in layer_precision)
    for one in targets:
        check_precision(one, precision, devices.get(one.name))
        for layer in entries:
            check_precision(one, layer.precision, devices.get(one.name), f"--layer-precision {layer.glob}=")
    parts = {entry.glob: entry.precision for entry in entries}
    whole = [scheme_of(one, precision, devices.get(one.name), scheme, parts) for one in targets]
    if not any(s.needs_data or s.weighs for s in whole):
        raise UsageError(f"--precision {precision} needs no statistics; export directly")
    path = Path(out)
    if path.is_dir():
        raise UsageError(f"--out {out} is a folder; give a file, e.g. {path / 'statistics.safetensors'}")
    progress.stage("capture", None)
    prepared = prepare(source, inputs, drop_passes, passes)
    samples = open_source(prepared, calib, preprocessing, Path(tokenizer) if tokenizer is not None else None)
    check_capture(prepared, samples.read(0, min(1, len(samples))))
    datasets = Datasets(samples, samples, samples.findings)
    layers = match_layers(prepared.canonical.graph, entries)
    schemes = [scheme_of(one, precision, devices.get(one.name), scheme, layers) for one in targets]
    assigned = [assign_for(prepared.canonical, s) for s in schemes]
    observed = observe(
        prepared, assigned, datasets, None, allow_suspicious=allow_suspicious_data, cache=cache, progress=progress
    )
    statistics = observed.statistics
    if statistics is None:
        raise UsageError(
            f"--precision {precision}: nothing in this model needs statistics of an activation; export directly"
        )
    _write(path, statistics.to_bytes())
    facts = {
        "statistics": str(path),
        "samples": statistics.samples,
        "tensors": len(statistics.tensors.keys() | statistics.powers.keys()),
        "sha256": statistics.digest(),
        "data": {**samples.description(), "sha256": samples.digest()},
    }
    return Result(facts, (*prepared.captured.findings, *samples.findings, *observed.findings))


def _takes(name: str, precision: str, scheme: str) -> bool:
    target = load_target(name)
    return precision in target.precisions and scheme in target.schemes


def _write(path: Path, data: bytes) -> None:
    """Writes a file as a whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write --out {path}: {(error.strerror or str(error)).lower()}") from error
