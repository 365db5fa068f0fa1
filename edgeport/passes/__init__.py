"""Graph passes: from a captured graph to the canonical graph. One pass a file, registered by name."""

from importlib import import_module
from pkgutil import iter_modules

from edgeport.passes.convert_version import CANONICAL_OPSET
from edgeport.passes.pipeline import DEFAULT_PIPELINE, canonicalize
from edgeport.passes.registry import Pass, get, names, register

for _module in iter_modules(__path__):  # a pass registers itself, in the default pipeline or not
    import_module(f"edgeport.passes.{_module.name}")

__all__ = ["CANONICAL_OPSET", "DEFAULT_PIPELINE", "Pass", "canonicalize", "get", "names", "register"]
