"""The calibration run: every sample goes through the canonical graph once, statistics are gathered on the way."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.calibration.accumulator import TensorAccumulator
from edgeport.calibration.identity import graph_digest
from edgeport.calibration.powers import ChannelPowers, sample_powers
from edgeport.calibration.statistics import Request, Statistics
from edgeport.errors import CalibrationError, ModelError
from edgeport.inner import expose, observable
from edgeport.onnx_session import open_session, session_options
from edgeport.sample import Array, Sample

_NONE: Mapping[str, int] = {}
_FLOATS = {None, ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE}  # None: the type is not inferred
_INLINE_LIMIT = 1 << 30  # protobuf ends at 2 GB, Constant nodes count as well
_TWICE_LIMIT = 1 << 28
"""Bytes of requested values up to which those of two samples are held at once."""


def collect(
    graph: ir.Model,
    samples: Iterable[Sample],
    requests: Mapping[str, Request],
    *,
    powers: Mapping[str, int] = _NONE,
    progress: Callable[[int], None] | None = None,
    threads: int = 1,
) -> Statistics:
    """Runs the samples through ONNX Runtime, one at a time, and gathers statistics.

    Only the requested tensors become outputs of the session, so that all other nodes stay open to its optimizations.
    While the values of one sample are looked at, a second thread runs the next.

    Args:
        graph: the canonical graph; it is not changed.
        samples: mappings input name -> array, of the shapes and dtypes that the graph takes.
        requests: value name (a graph input or an inner value included, see `edgeport.inner`) -> whether extremes are
            enough or a histogram is needed.
        powers: value name -> the axis along which the mean squares of its channels are wanted.
        progress: called with the number of samples done, after each.
        threads: ONNX Runtime's intra-op threads.

    Raises:
        CalibrationError: there are no samples, a sample does not fit the graph, or a requested name is not a float
            value of the graph.
        ModelError: ONNX Runtime cannot load or run the graph.
    """
    names = dict.fromkeys((*requests, *powers))
    _check_requests(graph, names)
    inputs = {v.name for v in graph.graph.inputs if v.name}
    accumulators = {name: TensorAccumulator(name, request) for name, request in requests.items()}
    channels: dict[str, ChannelPowers] = {}
    session = _Session(graph, [n for n in names if n not in inputs], threads)
    done = 0
    for done, (sample, seen) in enumerate(_runs(session, samples), 1):
        for name in names:
            array = sample[name] if name in inputs else seen[name]
            if name in accumulators:
                accumulators[name].add(array)
            if name in powers:
                power = sample_powers(array, powers[name])
                channels[name] = channels[name].merge(power) if name in channels else power
        if progress is not None:
            progress(done)
    if done == 0:
        raise CalibrationError("calibration data holds no samples; give at least one, better 100 or more")
    tensors = {n: accumulators[n].result() for n in sorted(accumulators)}
    return Statistics(tensors, done, graph_digest(graph), {n: channels[n] for n in sorted(channels)})


def _check_requests(graph: ir.Model, requests: Iterable[str]) -> None:
    values = {v.name: v for v in graph.graph.inputs if v.name}
    values |= {v.name: v for node in graph.graph for v in node.outputs if v.name}
    inner = observable(graph.graph)
    for name in requests:
        if name in inner and name not in values:
            continue
        if name not in values:
            near = difflib.get_close_matches(name, values, 3)  # a graph has too many names to list
            hint = f"; near names: {', '.join(near)}" if near else ""
            raise CalibrationError(f"statistics of {name!r} requested, which the graph does not compute{hint}")
        if values[name].dtype not in _FLOATS:
            raise CalibrationError(
                f"statistics of {name!r} requested, which is {values[name].dtype}, not a float tensor"
            )


def _runs(session: _Session, samples: Iterable[Sample]) -> Iterator[tuple[Sample, Mapping[str, Array]]]:
    """Every sample with its values, which are overwritten when the next one is asked for."""
    with ThreadPoolExecutor(1) as other:
        running: tuple[Sample, Future[Mapping[str, Array]]] | None = None
        for sample in samples:
            done = None if running is None else (running[0], running[1].result())
            if done is not None and not session.takes_turns:
                yield done
                done = None
            running = sample, other.submit(session.run, sample)
            if done is not None:
                yield done
        if running is not None:
            yield running[0], running[1].result()


@dataclass(frozen=True)
class _Bound:
    """Arrays that a run writes its values into.

    Attributes:
        binding: ONNX Runtime's, of the arrays.
        shapes: of the inputs that it is for.
        values: the arrays by name.
    """

    binding: Any
    shapes: Mapping[str, tuple[int, ...]]
    values: Mapping[str, Array]


class _Session:
    """An ONNX Runtime session that writes the requested values into arrays which are used again two samples later.

    Attributes:
        takes_turns: whether the values of one sample stay as they are while the next is run; those of a large model
            do not.
    """

    def __init__(self, graph: ir.Model, names: Sequence[str], threads: int) -> None:
        self._inputs = [v.name for v in graph.graph.inputs if v.name and v.name not in graph.graph.initializers]
        self._names = list(names)
        self._session = _open(graph, names, threads)
        self._bound: _Bound | None = None
        self._resting: _Bound | None = None
        self.takes_turns = True

    def run(self, sample: Sample) -> Mapping[str, Array]:
        """The requested values for one sample."""
        missing = [n for n in self._inputs if n not in sample]
        if missing:
            raise CalibrationError(
                f"a calibration sample lacks input {missing[0]!r}; it has {', '.join(sorted(sample))}"
            )
        feeds = {n: np.ascontiguousarray(sample[n]) for n in self._inputs}
        if not self._names:
            return {}
        if self.takes_turns:
            self._bound, self._resting = self._resting, self._bound
        try:
            if self._bound is not None and self._bound.shapes == {n: a.shape for n, a in feeds.items()}:
                return self._run_bound(self._bound, feeds)
            outputs = self._session.run(self._names, feeds)
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise _run_error(error) from error
        values = dict(zip(self._names, outputs, strict=True))
        self._bind(values, feeds)
        return values

    def _bind(self, outputs: dict[str, Array], feeds: Mapping[str, Array]) -> None:
        # Writing into an earlier run's arrays from now on saves a copy and fresh memory for every sample.
        if not all(isinstance(a, np.ndarray) and a.size and a.flags.carray for a in outputs.values()):
            return
        binding = self._session.io_binding()
        for name, a in outputs.items():
            binding.bind_output(name, "cpu", 0, a.dtype.type, a.shape, a.ctypes.data)
        self._bound = _Bound(binding, {n: a.shape for n, a in feeds.items()}, outputs)
        if sum(a.nbytes for a in outputs.values()) > _TWICE_LIMIT:
            self.takes_turns, self._resting = False, None

    def _run_bound(self, bound: _Bound, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        for name, a in feeds.items():
            bound.binding.bind_input(name, "cpu", 0, a.dtype.type, a.shape, a.ctypes.data)
        try:
            self._session.run_with_iobinding(bound.binding)
        except Exception:
            # An output whose shape depends on the data no longer fits; a real failure comes back from the plain run.
            self._bound = None
            return dict(zip(self._names, self._session.run(self._names, dict(feeds)), strict=True))
        return bound.values


def _open(graph: ir.Model, names: Sequence[str], threads: int) -> Any:
    observed = graph.clone()
    already = {v.name for v in observed.graph.outputs}
    by_name = {v.name: v for node in observed.graph for v in node.outputs}
    inner = observable(observed.graph)
    by_name |= {n: expose(inner[n]) for n in names if n not in by_name}
    observed.graph.outputs.extend(by_name[n] for n in names if n not in already)
    options = session_options(threads)
    try:
        if _fits_one_message(observed):
            return open_session(ir.to_proto(observed).SerializeToString(), options)
        with tempfile.TemporaryDirectory(prefix="edgeport-") as folder:
            path = Path(folder) / "observed.onnx"
            ir.save(observed, path, external_data="observed.data")
            return open_session(str(path), options)
    except Exception as error:
        raise ModelError(f"ONNX Runtime cannot load the canonical graph: {_first_line(error)}") from error


def _fits_one_message(graph: ir.Model) -> bool:
    """Whether the graph can be handed over as bytes; weights that lie in other files cannot."""
    tensors = [v.const_value for v in graph.graph.initializers.values()]
    if any(isinstance(t, ir.ExternalTensor) for t in tensors):
        return False
    return sum(t.nbytes for t in tensors if t is not None) < _INLINE_LIMIT


def _run_error(error: Exception) -> Exception:
    text = _first_line(error)
    if "INVALID_ARGUMENT" in text or "Unexpected input" in text or "Got invalid dimensions" in text:
        return CalibrationError(f"a calibration sample does not fit the graph: {text}")
    return ModelError(f"ONNX Runtime cannot run the canonical graph on a calibration sample: {text}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
