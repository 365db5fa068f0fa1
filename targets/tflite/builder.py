"""Tensors, buffers and operators -> the bytes of a .tflite file.

The schema's object API does the packing; this file only decides what is written: equal buffers once, every
buffer's data at a multiple of 16 bytes (the schema's force_align, which the generated packer ignores),
operator codes with the smallest version that has the feature used, and one signature.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgeport.errors import ModelError
from edgeport.quantize.plan import QParams
from edgeport.sample import Array
from edgeport.targets.tflite.versions import TensorFacts, min_runtime, op_version

_DTYPES = {
    "float32": "FLOAT32",
    "float16": "FLOAT16",
    "float64": "FLOAT64",
    "int4": "INT4",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "bool": "BOOL",
}
_MAX_BYTES = 2**31 - 2**20  # flatbuffers address with signed 32-bit offsets; 1 MB is left for the tables


@functools.cache
def schema() -> Any:
    """The generated schema module (a heavy import, hence not at the top)."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file.

    Attributes:
        index: its position in the file.
        name: its name, unique in the file.
        shape: its stored shape.
        dtype: numpy name of the stored type.
        quant: quantization parameters; `axis` counts stored axes.
        constant: whether it holds data.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    quant: QParams | None = None
    constant: bool = False


@dataclass(frozen=True)
class Op:
    """An operator: code name, operands (-1 for an absent one) and options."""

    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    version: int
    options_type: str | None
    options: Mapping[str, Any]


@dataclass
class Builder:
    """Collects a subgraph of a file: the main one, or one that a WHILE or IF runs.

    Attributes:
        name: name of the subgraph.
        tensors: in the file's order.
        ops: in execution order.
        inputs: what a subgraph other than the main one takes.
        outputs: what it gives.
        nested: the subgraphs other than the main one; the first has index 1.
        limit: most bytes that all constants may take.
        dry: nothing will be packed, so constants are not kept.
    """

    name: str = "main"
    tensors: list[Tensor] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    inputs: Sequence[Tensor] = ()
    outputs: Sequence[Tensor] = ()
    nested: list[Builder] = field(default_factory=list)
    limit: int = _MAX_BYTES
    dry: bool = False
    _buffers: list[bytes] = field(default_factory=lambda: [b""])
    _buffer_of: dict[int, int] = field(default_factory=dict)
    _block_scales: dict[int, int] = field(default_factory=dict)
    _by_digest: dict[bytes, int] = field(default_factory=dict)
    _constants: dict[tuple[Any, ...], Tensor] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)
    """Names that are taken, with the number from which on to look for a free variant."""

    def subgraph(self, name: str) -> tuple[int, Builder]:
        """A new subgraph with its index; its constants are stored beside those of all others, equal ones once."""
        inner = Builder(
            name,
            nested=self.nested,
            limit=self.limit,
            dry=self.dry,
            _buffers=self._buffers,
            _by_digest=self._by_digest,
        )
        self.nested.append(inner)
        return len(self.nested), inner

    def tensor(self, name: str, shape: Sequence[int], dtype: str, quant: QParams | None = None) -> Tensor:
        """Adds a tensor that an operator or the caller fills; a taken name gets a number."""
        return self._add(name, tuple(int(d) for d in shape), dtype, quant, constant=False)

    def renamed(self, tensor: Tensor, name: str) -> Tensor:
        """The same tensor under another name, with a number if that is taken."""
        named = replace(tensor, name=self._unique(name))
        self.tensors[tensor.index] = named
        return named

    def constant(self, name: str, data: Array, quant: QParams | None = None) -> Tensor:
        """Adds a tensor that holds `data`; equal data with equal parameters is one tensor.

        int4 comes as int8 with `quant.dtype` "int4". Scales of blocks become a float16 constant of their own.
        """
        dtype = "int4" if quant is not None and quant.dtype == "int4" else data.dtype.name
        if self.dry:
            return self._add(name, data.shape, dtype, quant, constant=True)
        raw = _two_a_byte(data) if dtype == "int4" else data.tobytes()
        digest = hashlib.sha256(raw).digest()
        scales = None if quant is None else (quant.scale.tobytes(), quant.zero_point.tobytes(), quant.axis)
        key = (digest, data.shape, dtype, scales)
        if key not in self._constants:
            if digest not in self._by_digest:
                self._by_digest[digest] = len(self._buffers)
                self._buffers.append(raw)
            tensor = self._add(name, data.shape, dtype, quant, constant=True)
            if quant is not None and quant.block is not None:
                scales_of_blocks = self.constant(f"{name}/scales", quant.scale.astype(np.float16))
                self._block_scales[tensor.index] = scales_of_blocks.index
            self._buffer_of[tensor.index] = self._by_digest[digest]
            self._constants[key] = tensor
        return self._constants[key]

    def op(
        self,
        code: str,
        inputs: Sequence[Tensor | None],
        outputs: Sequence[Tensor],
        options_type: str | None = None,
        **options: Any,
    ) -> None:
        """Adds an operator. `options_type` is the schema's table name without the trailing T."""
        facts = [None if t is None else TensorFacts(t.shape, t.dtype, t.quant) for t in (*inputs, *outputs)]
        version = op_version(code, facts[: len(inputs)], facts[len(inputs) :], options)
        ins = tuple(-1 if t is None else t.index for t in inputs)
        self.ops.append(Op(code, ins, tuple(t.index for t in outputs), version, options_type, options))

    def _add(self, name: str, shape: tuple[int, ...], dtype: str, quant: QParams | None, constant: bool) -> Tensor:
        if dtype not in _DTYPES:
            raise ModelError(f"tensor {name!r} is {dtype}, which the TFLite lowering does not write")
        tensor = Tensor(len(self.tensors), self._unique(name), shape, dtype, quant, constant)
        self.tensors.append(tensor)
        return tensor

    def _unique(self, name: str) -> str:
        unique, count = name, self._names.get(name, 0)
        while unique in self._names:
            count += 1
            unique = f"{name};{count}"
        self._names[unique] = 1
        self._names[name] = max(count, 1)
        return unique

    def pack(
        self,
        inputs: Mapping[str, Tensor],
        outputs: Mapping[str, Tensor],
        description: str,
        metadata: Mapping[str, bytes] | None = None,
    ) -> bytes:
        """The file: signature `serving_default` from the given names to the given tensors, and named metadata.

        Raises:
            ModelError: the constants do not fit in the 2 GB that the format can address.
        """
        if sum(map(len, self._buffers)) > self.limit:
            raise ModelError("the constants exceed the 2 GB of a .tflite file; export with fp16 or int8 weights")
        import flatbuffers

        s = schema()
        codes: dict[tuple[str, int], int] = {}
        main = self._subgraph(list(inputs.values()), list(outputs.values()), codes)
        inner = [graph._subgraph(graph.inputs, graph.outputs, codes) for graph in self.nested]
        notes = {"min_runtime_version": min_runtime(codes).encode().ljust(16, b"\0"), **(metadata or {})}
        signature = s.SignatureDefT(
            inputs=[s.TensorMapT(name=n, tensorIndex=t.index) for n, t in inputs.items()],
            outputs=[s.TensorMapT(name=n, tensorIndex=t.index) for n, t in outputs.items()],
            signatureKey="serving_default",
            subgraphIndex=0,
        )
        model = s.ModelT(
            version=3,
            operatorCodes=[_operator_code(name, version) for name, version in codes],
            subgraphs=[main, *inner],
            description=description,
            buffers=[_AlignedBuffer(raw) for raw in (*self._buffers, *notes.values())],
            metadata=[s.MetadataT(name=name, buffer=len(self._buffers) + i) for i, name in enumerate(notes)],
            signatureDefs=[signature],
        )
        packer = flatbuffers.Builder(sum(map(len, self._buffers)) + 256 * (len(self.tensors) + 4))
        packer.Finish(model.Pack(packer), b"TFL3")
        return bytes(packer.Output())

    def _subgraph(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], codes: dict[tuple[str, int], int]) -> Any:
        return schema().SubGraphT(
            tensors=[self._tensor(t) for t in self.tensors],
            inputs=[t.index for t in inputs],
            outputs=[t.index for t in outputs],
            operators=[self._operator(op, codes) for op in self.ops],
            name=self.name,
        )

    def _operator(self, op: Op, codes: dict[tuple[str, int], int]) -> Any:
        s = schema()
        index = codes.setdefault((op.code, op.version), len(codes))
        operator = s.OperatorT(opcodeIndex=index, inputs=list(op.inputs), outputs=list(op.outputs))
        if op.options_type is not None:
            operator.builtinOptionsType = getattr(s.BuiltinOptions, op.options_type)
            operator.builtinOptions = getattr(s, op.options_type + "T")(**op.options)
        return operator

    def _tensor(self, tensor: Tensor) -> Any:
        s = schema()
        out = s.TensorT(
            shape=list(tensor.shape),
            type=getattr(s.TensorType, _DTYPES[tensor.dtype]),
            buffer=self._buffer_of.get(tensor.index, 0),
            name=tensor.name,
            hasRank=True,
        )
        if tensor.quant is not None and tensor.quant.block is not None:
            out.quantization = s.QuantizationParametersT(
                detailsType=s.QuantizationDetails.BlockwiseQuantization,
                details=s.BlockwiseQuantizationT(
                    scales=self._block_scales[tensor.index], zeroPoints=-1, blockSize=tensor.quant.block
                ),
            )
        elif tensor.quant is not None:
            q = tensor.quant
            out.quantization = s.QuantizationParametersT(
                scale=np.atleast_1d(q.scale).astype(np.float32),
                zeroPoint=np.atleast_1d(q.zero_point).astype(np.int64),
                quantizedDimension=q.axis or 0,
            )
        return out


def _two_a_byte(data: Array) -> bytes:
    """int4 values as the format packs them: in row-major order, the first of two in the low half of a byte."""
    flat = data.astype(np.int8).reshape(-1).view(np.uint8) & 15
    if flat.size % 2:
        flat = np.append(flat, np.uint8(0))
    return bytes(flat[0::2] | flat[1::2] << 4)


@dataclass(frozen=True)
class _AlignedBuffer:
    """Stands in for BufferT, whose Pack aligns its data to 4 bytes only."""

    data: bytes

    def Pack(self, packer: Any) -> Any:  # the name that the generated ModelT.Pack calls
        s = schema()
        if not self.data:
            s.BufferStart(packer)
            return s.BufferEnd(packer)
        packer.StartVector(1, len(self.data), 16)
        packer.head = packer.head - len(self.data)
        packer.Bytes[packer.head : packer.head + len(self.data)] = self.data
        vector = packer.EndVector()
        s.BufferStart(packer)
        s.BufferAddData(packer, vector)
        return s.BufferEnd(packer)


def _operator_code(name: str, version: int) -> Any:
    s = schema()
    code = getattr(s.BuiltinOperator, name)
    return s.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=version)
