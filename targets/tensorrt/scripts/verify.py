"""Runs the golden samples through the engine on this board and compares the outputs with the float model's.

    python3 verify.py [ENGINE] [--trtexec PATH] [--tensorrt VERSION] [--margin DB] [-- FURTHER TRTEXEC OPTIONS]

ENGINE is by default the only .engine file beside this script. Needs trtexec, and of Python (3.6 or newer) nothing else.
An output passes if it is about as near to the float model as it was on the machine that exported it: margins are in
bundle.json, or given. Exit codes: 0 every output passes, 1 one does not, 2 nothing could be run.
"""

import argparse
import hashlib
import json
import math
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from array import array
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

FOLDER = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join("golden", "golden.safetensors")
DIGEST = os.path.join("golden", "golden.sha256")
PLACES = ("/usr/src/tensorrt/bin/trtexec", "/usr/bin/trtexec", "/usr/local/bin/trtexec", "/opt/tensorrt/bin/trtexec")
LIMITS = {"margin_db": 6.0, "least_db": 40.0, "margin_equal": 0.02}
CODES = {"F64": "d", "F32": "f", "I64": "q", "I32": "i", "I16": "h", "I8": "b", "U64": "Q", "U32": "I", "U16": "H"}
CODES.update({"U8": "B", "BOOL": "B"})
FLOATS = ("F64", "F32", "F16")
ENTRY = re.compile(r'"name"\s*:\s*"(.*?)"\s*,\s*"dimensions"\s*:\s*"[^"]*"\s*,\s*"values"\s*:\s*\[ ?', re.DOTALL)
# What TensorRT takes where the model has a type that it lacks, and what it took before version 10.
TAKEN = {"F64": "F32"}
TAKEN_BEFORE_10 = {"F64": "F32", "I64": "I32"}


class CannotRun(Exception):
    """Nothing can be compared; the text is one line that says why."""


class Tensor(NamedTuple):
    """An array: safetensors' name of its type, its shape, and the bytes of its elements in order."""

    dtype: str
    shape: Tuple[int, ...]
    data: bytes


Arrays = Dict[str, Tensor]


def read_golden(path: str) -> List[Dict[str, Arrays]]:
    """The samples: kind (input, output, reference) -> name -> tensor."""
    with open(path, "rb") as stream:
        data = stream.read()
    (size,) = struct.unpack("<Q", data[:8])
    samples: Dict[int, Dict[str, Arrays]] = {}
    for key, entry in json.loads(data[8 : 8 + size].decode("utf-8")).items():
        if key == "__metadata__":
            continue
        kind, index, name = key.split("/", 2)
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        tensor = Tensor(entry["dtype"], tuple(entry["shape"]), data[start:end])
        samples.setdefault(int(index), {}).setdefault(kind, {})[name] = tensor
    return [samples[index] for index in sorted(samples)]


def values(tensor: Tensor) -> Sequence[Any]:
    """The elements."""
    if tensor.dtype == "F16":
        return struct.unpack(f"<{len(tensor.data) // 2}e", tensor.data)
    return array(CODES[tensor.dtype], tensor.data)


def count(shape: Sequence[int]) -> int:
    """The number of elements of a shape."""
    product = 1
    for axis in shape:
        product *= axis
    return product


def check_files(folder: str, bundle: Dict[str, Any]) -> None:
    """Refuses a folder whose files are not those that edgeport wrote."""
    if not os.path.isdir(os.path.join(folder, "golden")):
        raise CannotRun("there are no golden samples here; export without validate=False, and copy the whole folder")
    listed = {entry["path"]: entry["sha256"] for entry in bundle.get("files", [])}
    with open(os.path.join(folder, DIGEST), encoding="ascii") as stream:
        listed.setdefault(GOLDEN.replace(os.sep, "/"), stream.read().split()[0])
    for name in sorted(listed):
        path = os.path.join(folder, *name.split("/"))
        digest = hashlib.sha256()
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
        if digest.hexdigest() != listed[name]:
            raise CannotRun(f"{name} is not the file that edgeport wrote (its sha256 differs); copy the folder again")


def likeness(reference: Tensor, got: Sequence[Any]) -> float:
    """dB of signal over noise for floats, the share of equal elements for integers.

    Where the float model itself gives NaN or infinity, the same is expected; anywhere else it is minus infinity dB.
    """
    pairs = zip(values(reference), got)
    if reference.dtype not in FLOATS:
        return sum(1 for a, b in pairs if a == b) / max(count(reference.shape), 1)
    signal = noise = 0.0
    for a, b in pairs:
        if math.isfinite(a) and math.isfinite(b):
            signal += a * a
            noise += (a - b) * (a - b)
        elif not (a == b or (math.isnan(a) and math.isnan(b))):
            return -math.inf
    if not math.isfinite(noise):
        return -math.inf
    return math.inf if noise == 0 else 10 * math.log10(max(signal, 1e-30) / noise)


def passes(here: float, seen: float, floating: bool, limits: Dict[str, float]) -> bool:
    """Whether the board is as near to the float model as the exporting machine was."""
    if floating:
        return here >= min(seen - limits["margin_db"], limits["least_db"])
    return here >= seen - limits["margin_equal"]


def compare(index: int, sample: Dict[str, Arrays], found: Dict[str, List[Any]], limits: Dict[str, float]) -> bool:
    """Prints a line for each output of a sample; True if all pass."""
    good = True
    for name, reference in sample["reference"].items():
        floating = reference.dtype in FLOATS
        label, unit = f"sample {index}, {name}:", "dB" if floating else "equal"
        size = count(reference.shape)
        if name not in found:
            given = ", ".join(sorted(found)) or "none"
            say(f"FAIL {label} the engine gives no such output (it gives {given})")
            good = False
        elif len(found[name]) != size:
            say(f"FAIL {label} {len(found[name])} elements instead of {size}")
            good = False
        else:
            here, seen = likeness(reference, found[name]), likeness(reference, values(sample["output"][name]))
            ok = passes(here, seen, floating, limits)
            say(f"{'ok  ' if ok else 'FAIL'} {label} {here:.2f} {unit} here, {seen:.2f} in edgeport")
            good = good and ok
    return good


def read_outputs(text: str, characters: Dict[str, int]) -> Dict[str, List[Any]]:
    """What `trtexec --exportOutput` wrote: output -> its elements; `characters` are the sizes of those of uint8.

    It is not always JSON: names stand there as they are, NaN and infinity as C++ prints them, elements of uint8 as the
    characters with these codes, and an output whose size depends on the data starts with a sentence about its shape.
    """
    found = {}
    entry = ENTRY.search(text)
    while entry is not None:
        name, start = entry.group(1), entry.end()
        end = start + 3 * characters.get(name, 0) - 2
        if name in characters and is_of_characters(text[start : end + 2]):
            found[name] = [ord(character) & 0xFF for character in text[start:end:3]]
        else:
            end = text.find("]", start)
            values = re.sub(r"^\s*Final shape is .*? reported by the output allocator\.", "", text[start:end])
            found[name] = [number(word) for word in values.replace(",", " ").split()]
        entry = ENTRY.search(text, max(start, end))
    return found


def is_of_characters(text: str) -> bool:
    """Whether it is one character an element; digits alone are numbers."""
    return set(text[1:-2:3]) <= {","} and set(text[2:-2:3]) <= {" "} and text[-2:] == " ]" and not text[:-2:3].isdigit()


def number(word: str) -> Any:
    """An element as trtexec prints it; NaN where it is no number."""
    if word.lstrip("-").isdigit():
        return int(word)
    try:
        return float(word)
    except ValueError:
        return math.nan


def taken(tensor: Tensor, tensorrt: Tuple[int, ...]) -> bytes:
    """An input's bytes in the type that this TensorRT takes."""
    dtype = (TAKEN_BEFORE_10 if tensorrt < (10,) else TAKEN).get(tensor.dtype, tensor.dtype)
    if dtype == tensor.dtype:
        return tensor.data
    try:
        return array(CODES[dtype], values(tensor)).tobytes()
    except OverflowError as error:
        raise CannotRun(
            f"an input holds {tensor.dtype} numbers that {dtype}, which this TensorRT takes, cannot hold"
        ) from error


def parse_version(text: str) -> Tuple[int, ...]:
    """Reads 8.5.2, or what trtexec makes of it: 8502, and 100300 of 10.3.0."""
    if "." in text:
        return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
    if not text.isdigit():
        raise CannotRun(f"--tensorrt {text}: a version, please, such as 8.5.2")
    digits = int(text)
    base = 1000 if digits < 10000 else 10000
    return (digits // base, digits % base // 100, digits % 100)


def say(line: str) -> None:
    """Prints a line in UTF-8: where no language is set, Python 3.6 would take ASCII and stop at a name that is not."""
    sys.stdout.buffer.write(line.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.flush()


def start(trtexec: str, options: Sequence[str], folder: str) -> Tuple[int, str]:
    """Runs trtexec; its exit code and all that it prints."""
    command = [word.encode("utf-8", "surrogateescape") for word in (trtexec, *options)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder)
    except OSError as error:
        raise CannotRun(f"{trtexec} cannot be started: {error.strerror}") from error
    return done.returncode, done.stdout.decode("utf-8", "replace")


def version_of(trtexec: str, folder: str) -> Tuple[int, ...]:
    """The TensorRT that trtexec belongs to, from the first line that it prints."""
    found = re.search(r"\[TensorRT v(\d+)\]", start(trtexec, ["--help"], folder)[1])
    if found is None:
        raise CannotRun(f"{trtexec} --help does not say its TensorRT version; give it with --tensorrt VERSION")
    return parse_version(found.group(1))


def run(
    trtexec: str, engine: str, sample: Dict[str, Arrays], tensorrt: Tuple[int, ...], further: Sequence[str]
) -> Dict[str, List[Any]]:
    """One sample through the engine: output -> its elements."""
    inputs = sample.get("input", {})
    characters = {name: count(like.shape) for name, like in sample["reference"].items() if like.dtype == "U8"}
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        pairs = []
        for index, name in enumerate(sorted(inputs)):
            if "," in name or (tensorrt >= (8, 6) and "'" in name):
                raise CannotRun(f"trtexec takes no input named {name}; use infer.py")
            with open(os.path.join(scratch, f"{index}.bin"), "wb") as stream:
                stream.write(taken(inputs[name], tensorrt))
            pairs.append(f"{name}:{index}.bin")
        options = [
            "--loadEngine=" + engine,
            "--exportOutput=outputs.json",
            "--iterations=1",
            "--duration=0",
            "--warmUp=0",
        ]
        options += ["--loadInputs=" + ",".join(pairs)] if pairs else []
        code, printed = start(trtexec, [*options, *further], scratch)
        path = os.path.join(scratch, "outputs.json")
        if code != 0 or not os.path.exists(path):
            raise CannotRun(f"trtexec does not run the engine: {complaint(printed)}")
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return read_outputs(stream.read(), characters)


def complaint(printed: str) -> str:
    """The line of trtexec's output that says what went wrong."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    errors = [line for line in lines if "[E]" in line or "rror" in line]
    return (errors or lines or ["it says nothing"])[0]


def find_trtexec(given: Optional[str]) -> str:
    """The trtexec to use: the one that was given, the one on the path, or the one that JetPack installs."""
    found = given or os.environ.get("TRTEXEC") or shutil.which("trtexec")
    found = found or next((path for path in PLACES if os.access(path, os.X_OK)), None)
    if found is None:
        raise CannotRun("trtexec is not installed here; install JetPack's tensorrt package, or give --trtexec PATH")
    return os.path.abspath(found) if os.sep in found else found


def find_engine(given: Optional[str], folder: str) -> str:
    """The engine to check."""
    if given:
        engines = [given]
    else:
        engines = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".engine")]
    if len(engines) != 1:
        names = ", ".join(os.path.basename(path) for path in engines) or "none"
        raise CannotRun(f"say which engine to check; in {folder} there is {names}")
    if not os.path.isfile(engines[0]):
        raise CannotRun(f"there is no engine {engines[0]}; build.sh makes it")
    return os.path.abspath(engines[0])


def verify(folder: str, options: argparse.Namespace, further: Sequence[str]) -> bool:
    """Checks the files, runs every golden sample and compares; True if every output passes."""
    try:
        with open(os.path.join(folder, "bundle.json"), encoding="utf-8") as stream:
            bundle = json.load(stream)
        check_files(folder, bundle)
        samples = read_golden(os.path.join(folder, GOLDEN))
    except OSError as error:
        raise CannotRun(f"{error.filename}: {error.strerror}; copy the whole folder") from error
    except (ValueError, KeyError, struct.error) as error:
        raise CannotRun(f"{folder} is damaged ({error}); copy the folder again") from error
    if not any("reference" in sample for sample in samples):
        raise CannotRun(f"{GOLDEN} holds no sample")
    limits = dict(LIMITS, **bundle.get("verify", {}))
    if options.margin is not None:
        limits["margin_db"] = options.margin
    engine, trtexec = find_engine(options.engine, folder), find_trtexec(options.trtexec)
    version = parse_version(options.tensorrt) if options.tensorrt else version_of(trtexec, folder)
    good = True
    for index, sample in enumerate(samples):
        found = run(trtexec, engine, sample, version, further)
        good = compare(index, sample, found, limits) and good
    return good


def main(arguments: Sequence[str], folder: str = FOLDER) -> int:
    """Runs the check; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", nargs="?", metavar="ENGINE")
    parser.add_argument("--trtexec", metavar="PATH")
    parser.add_argument("--tensorrt", metavar="VERSION")
    parser.add_argument("--margin", metavar="DB", type=float)
    own = list(arguments)
    cut = own.index("--") if "--" in own else len(own)
    options = parser.parse_args(own[:cut])
    try:
        good = verify(folder, options, own[cut + 1 :])
    except CannotRun as error:
        say(f"cannot verify: {error}")
        return 2
    say("every output passes" if good else "some outputs do not pass")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
