"""Graph passes: from a captured graph to the canonical graph. One pass a file, registered by name."""

from importlib import import_module

from edgeport.passes.convert_version import CANONICAL_OPSET
from edgeport.passes.pipeline import DEFAULT_PIPELINE, canonicalize
from edgeport.passes.registry import Pass, get, names, register

for _name in DEFAULT_PIPELINE:  # a pass stands in the module of its name and registers itself there
    import_module(f"edgeport.passes.{_name}")

__all__ = ["CANONICAL_OPSET", "DEFAULT_PIPELINE", "Pass", "canonicalize", "get", "names", "register"]
