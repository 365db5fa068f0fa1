"""ONNX Runtime on the CPU as a runner: the float reference, and the simulation of quantized graphs."""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

from edgeport.errors import CalibrationError, ModelError
from edgeport.findings import Finding
from edgeport.onnx_session import open_session, session_options
from edgeport.sample import Array, InputSpec, Sample
from edgeport.validate.runner import Verdict

if TYPE_CHECKING:
    import onnxruntime as ort

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_INLINE_LIMIT = 2**31 - 2**26
"""Bytes of weights up to which a model is handed over in memory: protobuf stops at 2 GiB, nodes need the rest."""

_SMALL_FILE = 2**26
_EXTERNAL = b"location"
"""A key that every tensor has which lies in another file."""

_LONGEST = 500
"""Characters kept of a runtime's message; the rest repeats types and shapes."""

_KEPT_SESSIONS = 4
"""Sessions kept for sets of intermediate names; each holds its own copy of the weights."""


class OnnxRunner:
    """Runs a graph in ONNX Runtime on the CPU.

    Args:
        model: a graph, an ONNX file (its external data is read from beside it), or a serialized ONNX model.
        threads: threads inside one operator; operators run one after the other.
        simulate: compute QuantizeLinear and DequantizeLinear where they stand, in float, instead of fusing them
            into integer kernels, whose rounding differs from one processor to the next.
        optimize: False runs every node as it is written; ONNX Runtime's rewritings are wrong for some quantized files.
        stock: run with every rewriting that an app gets, also those that are known to be wrong for some graphs.

    Raises:
        ModelError: ONNX Runtime cannot load the model, or an input or output is not a tensor that numpy knows.
    """

    def __init__(
        self,
        model: ir.Model | Path | bytes,
        *,
        threads: int = 1,
        simulate: bool = False,
        optimize: bool = True,
        stock: bool = False,
    ) -> None:
        # Serialized at once: later changes of a graph that the caller goes on to rewrite must not reach this runner.
        self._model = _serialized(model) if isinstance(model, ir.Model) else model
        self._threads = threads
        self._simulate, self._optimize, self._stock = simulate, optimize, stock
        self._session = self._open(())
        self._inputs = tuple(_spec(i, "input") for i in self._session.get_inputs())
        self._output_specs = tuple(_spec(o, "output") for o in self._session.get_outputs())
        self._outputs = tuple(spec.name for spec in self._output_specs)
        self._extended: dict[frozenset[str], ort.InferenceSession] = {}
        self._internal: frozenset[str] | None = None

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The inputs, in the graph's order; initializers that are repeated as inputs are not among them."""
        return self._inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """The output names, in the graph's order."""
        return self._outputs

    @property
    def output_specs(self) -> tuple[InputSpec, ...]:
        """The outputs as ONNX Runtime infers them; a string is a dimension known only at run time."""
        return self._output_specs

    @property
    def verdict(self) -> Verdict:
        """ONNX Runtime itself computes every figure."""
        return "measured"

    def run(self, sample: Sample) -> dict[str, Array]:
        """Runs one sample and returns every output by name; NaN and infinity are returned as they are.

        Raises:
            CalibrationError: the sample lacks an input, holds an unknown one, or one with another dtype or shape;
                or an operator fails on its values.
        """
        return self._run(self._session, self._outputs, sample)

    def intermediates(self, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
        """Values of tensors of the main graph by name, inputs included.

        Weights, unknown names, sequences and types that numpy lacks (bfloat16) are left out.

        The graph runs with the wanted tensors as further outputs. Operators that ONNX Runtime would fuse across
        one of them stay apart, so float results can differ from `run`'s in the last bits.

        Raises:
            CalibrationError: as `run`.
        """
        known = self._internal_names()
        wanted = tuple(dict.fromkeys(n for n in names if n in known))
        given = {n: np.asarray(sample[n]) for n in names if n in sample and any(n == i.name for i in self._inputs)}
        if not wanted:
            return given | self._run(self._session, (), sample)
        key = frozenset(wanted)
        if key not in self._extended:
            while len(self._extended) >= _KEPT_SESSIONS:
                del self._extended[next(iter(self._extended))]
            self._extended[key] = self._open(tuple(n for n in wanted if n not in self._outputs))
        session = self._extended[key]
        readable = {o.name for o in session.get_outputs() if o.type in _DTYPES}
        return given | self._run(session, [n for n in wanted if n in readable], sample)

    def _run(self, session: ort.InferenceSession, names: Sequence[str], sample: Sample) -> dict[str, Array]:
        import onnxruntime as ort

        check_sample(self._inputs, sample)
        if not names:
            return {}  # ONNX Runtime takes an empty list for all outputs
        options = ort.RunOptions()
        options.log_severity_level = 4
        feed = {spec.name: np.asarray(sample[spec.name]) for spec in self._inputs}
        try:
            values = session.run(list(names), feed, options)
        except Exception as error:  # ONNX Runtime's exceptions share no public root
            raise CalibrationError(f"ONNX Runtime cannot run this sample: {one_line(error)}") from error
        return dict(zip(names, values, strict=True))

    def _internal_names(self) -> frozenset[str]:
        if self._internal is None:
            model = self._to_extend
            if isinstance(model, bytes):
                nodes = onnx.ModelProto.FromString(model).graph.node
                self._internal = frozenset(name for n in nodes for name in n.output if name)
            else:
                graph = ir.load(model).graph if isinstance(model, Path) else model.graph
                self._internal = frozenset(v.name for n in graph for v in n.outputs if v.name)
        return self._internal

    @functools.cached_property
    def _to_extend(self) -> ir.Model | Path | bytes:
        """The model; one that lies in a small file by itself as its bytes, which take further outputs as they are."""
        model = self._model
        return _small_file(model) or model if isinstance(model, Path) else model

    def _open(self, extra: Sequence[str]) -> ort.InferenceSession:
        options = _options(self._threads, self._simulate, self._optimize)
        # Inner tensors go to the caller and are freed there: a pool would keep as much again.
        options.enable_cpu_mem_arena = not extra
        model = self._to_extend if extra else self._model
        if isinstance(model, Path) and not extra:
            return _session(str(model), options, self._stock)
        if isinstance(model, bytes):
            return _session(_with_outputs(model, extra) if extra else model, options, self._stock)
        graph = ir.load(model) if isinstance(model, Path) else model
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "model.onnx"
            ir.save(graph, path, external_data="weights.bin")
            if extra:
                path.write_bytes(_with_outputs(path.read_bytes(), extra))
            return _session(str(path), options, self._stock)


def check_sample(inputs: Sequence[InputSpec], sample: Sample) -> None:
    """Compares a sample with the inputs that a runner takes.

    Raises:
        CalibrationError: an input is missing, unknown, or has another dtype or shape.
    """
    names = [spec.name for spec in inputs]
    missing = [n for n in names if n not in sample]
    unknown = [n for n in sample if n not in names]
    if missing or unknown:
        what = f"lacks input {', '.join(map(repr, missing))}" if missing else f"holds unknown input {unknown[0]!r}"
        raise CalibrationError(
            f"the sample {what}: it has {', '.join(map(repr, sample)) or 'nothing'}, the model takes "
            f"{', '.join(map(str, inputs)) or 'nothing'}"
        )
    for spec in inputs:
        array = np.asarray(sample[spec.name])
        if array.dtype != np.dtype(spec.dtype):
            raise CalibrationError(f"input {spec.name!r} is {array.dtype} in the sample, the model takes {spec}")
        if len(array.shape) != len(spec.shape) or any(
            isinstance(want, int) and want != got for want, got in zip(spec.shape, array.shape, strict=True)
        ):
            raise CalibrationError(
                f"input {spec.name!r} has shape {list(array.shape)} in the sample, the model takes {spec}"
            )


def one_line(error: BaseException) -> str:
    """An exception's text as one line, without the runtime's error code, the file it loads and its source locations."""
    text = " ".join(str(error).split())
    marker = "[ONNXRuntimeError] : "
    if text.startswith(marker):
        text = text[len(marker) :].split(" : ", 2)[-1]
    text = re.sub(r"^Load model from .*? failed: ?", "", text)
    text = re.sub(r"/onnxruntime_src/\S+:\d+ [^(]*", "@", text)
    while (at := text.find("@(")) >= 0:
        text = text[:at] + text[_closing(text, at + 1) :].removeprefix(" const").lstrip(" :")
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _closing(text: str, start: int) -> int:
    """The index behind the parenthesis that closes the one at `start`."""
    depth = 0
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index + 1
    return len(text)


def _options(threads: int, simulate: bool, optimize: bool) -> ort.SessionOptions:
    options = session_options(threads)
    if not optimize:
        options.graph_optimization_level = type(options.graph_optimization_level).ORT_DISABLE_ALL
    if simulate:
        # Without the first, Q/DQ are moved and fused into QLinear kernels, and weights between them quantized anew;
        # without the second, DQ -> Q pairs in the middle of Q -> DQ -> Q -> DQ are dropped.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.add_session_config_entry("session.disable_double_qdq_remover", "1")
    return options


def _session(model: str | bytes, options: ort.SessionOptions, stock: bool) -> ort.InferenceSession:
    try:
        return open_session(model, options, stock=stock)
    except Exception as error:  # ONNX Runtime's exceptions share no public root
        message = one_line(error)
        raise ModelError(
            f"ONNX Runtime cannot load the model: {message}", [Finding("error", "onnxruntime-load", message)]
        ) from error


def _spec(value: Any, role: str) -> InputSpec:
    if value.type not in _DTYPES:
        raise ModelError(
            f"{role} {value.name!r} is a {value.type}, and only tensors of numbers can be; export the model without it"
        )
    shape = tuple(d if isinstance(d, int) else d or f"{value.name}_dim_{i}" for i, d in enumerate(value.shape))
    return InputSpec(value.name, _DTYPES[value.type], shape)


def _serialized(model: ir.Model) -> bytes | ir.Model:
    """The model as one protobuf message, or as it is when it doesn't fit into one."""
    try:
        if not _fits_in_memory(model):
            return model
        data: bytes = ir.to_proto(model).SerializeToString()
    except Exception as error:  # a damaged graph fails wherever the serializer meets the damage
        raise ModelError(f"the graph cannot be serialized: {one_line(error.__cause__ or error)}") from error
    return data


def _small_file(path: Path) -> bytes | None:
    """What an ONNX file holds, if that is little and all of the model."""
    if path.stat().st_size > _SMALL_FILE:
        return None
    data = path.read_bytes()
    return None if _EXTERNAL in data else data


def _with_outputs(model: bytes, names: Sequence[str]) -> bytes:
    proto = onnx.ModelProto.FromString(model)
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    data: bytes = proto.SerializeToString()
    return data


def _fits_in_memory(model: ir.Model) -> bool:
    """Whether the model serializes to one protobuf message; tensors that lie in other files never do."""
    size = 0
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor):
                return False
            size += tensor.nbytes if tensor is not None else 0
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                size += attribute.as_tensor().nbytes
    return size < _INLINE_LIMIT
