"""What capture hands on."""

from __future__ import annotations

import re
from dataclasses import dataclass

import onnx_ir as ir

from edgeport.findings import Finding
from edgeport.validate.runner import Runner


@dataclass(frozen=True)
class Captured:
    """A source as a graph.

    Attributes:
        model: the source graph. Opset as in the source, input dimensions fixed, no initializer repeated as an
            input, every node named. Weights may stand in Constant nodes.
        name: from the file, class or callable name; lower-case letters, digits and `_` only.
        digest: sha256 (hex) of what the source is, with the given input specifications; independent of path and time.
        reference: runs the source itself, as it was before capture touched it.
        findings: what the user should know about the source.
    """

    model: ir.Model
    name: str
    digest: str
    reference: Runner
    findings: tuple[Finding, ...]


def safe_name(text: str) -> str:
    """A file stem, class or callable name in snake case, usable as a file name everywhere."""
    words = re.sub(r"([a-z0-9])([A-Z][a-z0-9])", r"\1_\2", text)
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:100] or "model"
