"""How the artifacts of an export show themselves to their user: layouts, dtypes and words, whatever runs inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import onnx_ir as ir

from edgeport.description import Description
from edgeport.errors import UsageError
from edgeport.findings import Finding
from edgeport.quantize.plan import InputLayout, IoDtype, Kernel, Plan, ShapesAs

_KERNELS: dict[str, Kernel] = {"int8": "int8", "uint8": "int8", "int16": "int16x8"}
"""Integers at the ends -> the kernels that take them."""


@dataclass(frozen=True)
class Presentation:
    """What is the same for every artifact of an export; the attributes are those of `Plan`."""

    input_layout: InputLayout = "source"
    io_dtype: IoDtype = "source"
    description: Description = field(default_factory=Description)
    device: Mapping[str, Any] = field(default_factory=dict)
    image_input: bool = False
    states: Mapping[str, str] = field(default_factory=dict)
    shapes_as: ShapesAs = "functions"
    build_engine: bool = False
    scheme: str = "default"

    def of(self, plan: Plan) -> Plan:
        """The plan of an artifact that shows itself so."""
        return replace(
            plan,
            input_layout=self.input_layout,
            io_dtype=self.io_dtype,
            description=self.description,
            device=self.device,
            image_input=self.image_input,
            states=self.states,
            shapes_as=self.shapes_as,
            build_engine=self.build_engine,
            scheme=self.scheme,
        )


def check_images(description: Description) -> None:
    """Refuses `--image-input` where no input is an image.

    Raises:
        UsageError: nothing says how pixels become an input.
    """
    if not description.images:
        raise UsageError(
            "--image-input: no input is described as an image; declare [preprocessing] in edgeport.toml, with the "
            "layout and the number of channels of an input"
        )


def check_io_dtype(io_dtype: str, kernel: Kernel, precision: str) -> None:
    """Refuses numbers at the ends of a model that has none of that kind inside.

    Raises:
        UsageError: no kernel at that precision takes or makes them.
    """
    if io_dtype == "float16":
        if precision == "fp32":
            raise UsageError("--io-dtype float16 needs another --precision than fp32, which computes in float32")
    elif io_dtype != "source" and _KERNELS[io_dtype] != kernel:
        needed = "int16x8" if io_dtype == "int16" else "int8"
        raise UsageError(f"--io-dtype {io_dtype} needs --precision {needed}; {precision} computes in float at its ends")


def float_ends(graph: ir.Graph, plan: Plan) -> Iterator[Finding]:
    """The inputs and outputs that stay float although integers were asked for."""
    if plan.io_dtype in ("source", "float16"):
        return
    for kind, does, values in (("input", "reads", graph.inputs), ("output", "makes", graph.outputs)):
        for value in values:
            if value.dtype == ir.DataType.FLOAT and plan.io_qparams(value) is None:
                message = f"{kind} {value.name!r} stays float32: no integer kernel {does} it"
                yield Finding("info", "float-io", message)
