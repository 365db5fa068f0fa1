"""Statistics from the cache, or from a run that then fills it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx_ir as ir

from edgeport import __version__
from edgeport.cache import cache_key, read_cached, write_cached
from edgeport.calibration.collect import collect
from edgeport.calibration.identity import graph_digest
from edgeport.calibration.samples import SampleSource
from edgeport.calibration.statistics import FORMAT, Request, Statistics

_KIND = "statistics"
_NONE: Mapping[str, int] = {}


def cached_collect(
    graph: ir.Model,
    source: SampleSource,
    requests: Mapping[str, Request],
    *,
    powers: Mapping[str, int] = _NONE,
    progress: Callable[[int], None] | None = None,
    use_cache: bool = True,
) -> Statistics:
    """`collect`, unless the same graph, data and requests were collected before.

    Args:
        graph: the canonical graph.
        source: the samples.
        requests: see `collect`.
        powers: see `collect`.
        progress: called with the number of samples done; not at all if the statistics come from the cache.
        use_cache: False neither reads nor writes the cache.

    Raises:
        CalibrationError: see `collect`.
        ModelError: see `collect`.
    """
    if not use_cache:
        return collect(graph, source, requests, powers=powers, progress=progress)
    key = _key(graph, source, requests, powers)
    payload = read_cached(_KIND, key)
    if payload is not None:
        try:
            return Statistics.from_bytes(payload)
        except ValueError:
            pass  # not damaged, yet unreadable: written by something else; collected and written anew below
    statistics = collect(graph, source, requests, powers=powers, progress=progress)
    write_cached(_KIND, key, statistics.to_bytes())
    return statistics


def _key(graph: ir.Model, source: SampleSource, requests: Mapping[str, Request], powers: Mapping[str, int]) -> str:
    import onnxruntime

    versions = f"{__version__} {FORMAT} {_code_digest()} onnxruntime {onnxruntime.__version__}"
    wanted = [dict(requests), dict(powers)]
    return cache_key([versions, graph_digest(graph), source.digest(), json.dumps(wanted, sort_keys=True)])


def _code_digest() -> str:
    """sha256 of what collects: a checkout changes between two releases, and its statistics with it."""
    total = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        total.update(path.read_bytes())
    return total.hexdigest()
