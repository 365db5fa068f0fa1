"""Says how many layers of an engine compute in which type, from the file that trtexec --exportLayerInfo wrote.

    python3 layers.py LAYERS.json

TensorRT takes the fastest kernel that it is allowed to: a model with int8 may run in float16, and only the board tells.
"""

import json
import sys
from typing import Any, Dict, Sequence

# Narrowest first: a layer that reads int8 and float16 (a convolution with a skip branch) computes in int8.
TYPES = [("FP4", "FP4"), ("FLOAT4", "FP4"), ("INT4", "int4"), ("FP8", "FP8"), ("FLOAT8", "FP8"), ("INT8", "int8")]
TYPES += [("BF16", "bfloat16"), ("BFLOAT16", "bfloat16"), ("FP16", "float16"), ("HALF", "float16")]
TYPES += [("FP32", "float32"), ("FLOAT", "float32")]
MOVING = ("Reformat", "NoOp", "Constant", "Shape")


def type_of(layer: Dict[str, Any]) -> str:
    """The type that a layer reads, as TensorRT spells it among the names of memory layouts; empty if it does not."""
    spelled = " ".join(
        str(value)
        for end in layer.get("Inputs", [])
        for key, value in sorted(end.items())
        if key not in ("Name", "Dimensions")
    ).upper()
    return next((name for sign, name in TYPES if sign in spelled), "")


def counted(layers: Sequence[Any]) -> Dict[str, int]:
    """Type -> number of layers that compute in it; layers that only move data do not count."""
    counts: Dict[str, int] = {}
    for layer in layers:
        if isinstance(layer, dict) and not str(layer.get("LayerType", "")).startswith(MOVING):
            name = type_of(layer)
            counts[name] = counts.get(name, 0) + 1
    counts.pop("", None)
    return counts


def main(arguments: Sequence[str]) -> int:
    """Prints one line; the exit code."""
    try:
        with open(arguments[0], encoding="utf-8", errors="replace") as stream:
            layers = json.load(stream)["Layers"]
    except (OSError, ValueError, KeyError, IndexError) as error:
        print(f"layers.py: {error}", file=sys.stderr)
        return 1
    counts = counted(layers)
    if counts:
        print("layers: " + ", ".join(f"{counts[name]} in {name}" for name in sorted(counts)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
