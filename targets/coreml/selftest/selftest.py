"""Runs the golden samples in Core ML on this Mac and compares them with what edgeport saw.

    pip install coremltools numpy pillow
    python selftest.py [FOLDER]        (the folder with the .mlpackage and golden/; by default the one above this file)

An output passes if it is about as near to the float model as it was in edgeport's evaluator: within 6 dB, or 40 dB.
Exit codes: 0 all outputs pass, 1 one does not, 2 nothing could be run.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Predict = Callable[[Arrays], Arrays]
ENOUGH_DB, MARGIN_DB, MARGIN_EQUAL = 40.0, 6.0, 0.02
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}
DTYPES |= {"BOOL": "?", "U16": "<u2", "U32": "<u4", "U64": "<u8"}


def read_golden(path: Path) -> list[dict[str, Arrays]]:
    """The samples: kind (input, output, reference) -> name -> array."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    samples: dict[int, dict[str, Arrays]] = {}
    for key, entry in json.loads(data[8 : 8 + size]).items():
        if key == "__metadata__":
            continue
        kind, index, name = key.split("/", 2)
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        array = np.frombuffer(data[start:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
        samples.setdefault(int(index), {}).setdefault(kind, {})[name] = array
    return [samples[index] for index in sorted(samples)]


def likeness(reference: np.ndarray, got: np.ndarray) -> float:
    """dB of signal over noise for floats, the share of equal elements for integers."""
    if not np.issubdtype(reference.dtype, np.floating):
        return float(np.mean(reference == np.rint(got)))
    signal, noise = (float(np.sum(np.square(a.astype(np.float64)))) for a in (reference, reference - got))
    if not np.isfinite(noise):
        return -np.inf
    return np.inf if noise == 0 else 10 * float(np.log10(max(signal, 1e-30) / noise))


def passes(here: float, seen: float, floating: bool) -> bool:
    """Whether the device is as near to the float model as edgeport's evaluator was."""
    return here >= min(seen - MARGIN_DB, ENOUGH_DB) if floating else here >= seen - MARGIN_EQUAL


def compare(samples: list[dict[str, Arrays]], predict: Predict) -> bool:
    """Runs all samples, prints a line for each output; True if all pass."""
    good = True
    for index, sample in enumerate(samples):
        outputs = predict(sample["input"])
        for name, reference in sample["reference"].items():
            floating = bool(np.issubdtype(reference.dtype, np.floating))
            got = np.asarray(outputs[name]).reshape(reference.shape)
            seen = likeness(reference, sample["output"][name].reshape(reference.shape))
            here = likeness(reference, got)
            ok = passes(here, seen, floating)
            unit = "dB" if floating else "equal"
            print(f"{'ok  ' if ok else 'FAIL'} sample {index}, {name}: {here:.2f} {unit} here, {seen:.2f} in edgeport")
            good &= ok
    return good


def core_ml(package: Path) -> Predict:
    """Core ML itself, under the names of the source."""
    import coremltools

    model = coremltools.models.MLModel(str(package))
    said = model.user_defined_metadata
    sources = json.loads(said.get("edgeport.names", "{}"))
    renamed = {own: name for name, own in sources.items()}
    images = json.loads(said.get("edgeport.images", "{}"))
    states = json.loads(said.get("edgeport.states", "{}"))

    def predict(inputs: Arrays) -> Arrays:
        state: Any = model.make_state() if states else None
        feeds: dict[str, Any] = {}
        for name, array in inputs.items():
            if name in states:
                state.write_state(states[name]["coreml_name"], array.astype(np.float16))
            elif name in images:
                feeds[renamed.get(name, name)] = as_image(array, images[name])
            else:
                feeds[renamed.get(name, name)] = array.reshape(array.shape or (1,))
        outputs = model.predict(feeds, state=state) if states else model.predict(feeds)
        found = {sources.get(name, name): array for name, array in outputs.items()}
        return found | {one["output"]: state.read_state(one["coreml_name"]) for one in states.values()}

    return predict


def as_image(pixels: np.ndarray, said: dict[str, Any]) -> Any:
    """The pixels of a golden sample as an image; Core ML brings the channels into the model's order."""
    from PIL import Image

    last = pixels[0] if said["channels_last"] else pixels[0].transpose(1, 2, 0)
    if said["colour"] == "GRAY":
        return Image.fromarray(last[:, :, 0])
    return Image.fromarray(np.ascontiguousarray(last[:, :, ::-1] if said["colour"] == "BGR" else last))


def main(folder: Path, predict: Predict | None = None) -> int:
    """Runs the check; `predict` stands for Core ML if it is given."""
    try:
        (package,) = folder.glob("*.mlpackage")
        samples = read_golden(folder / "golden" / "golden.safetensors")
    except (OSError, ValueError) as error:
        print(f"no package with golden samples in {folder}: {error}")
        return 2
    if predict is None and sys.platform != "darwin":
        print("Core ML runs on macOS only")
        return 2
    try:
        good = compare(samples, predict or core_ml(package))
    except ImportError as error:
        print(f"{error}; run: pip install coremltools numpy pillow")
        return 2
    print("all outputs pass" if good else "some outputs do not pass")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent))
