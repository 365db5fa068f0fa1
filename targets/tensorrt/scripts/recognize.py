"""Says which board this is, whether the folder is for it, and which of its files an engine is built from.

    python3 recognize.py --tensorrt VERSION [--precision P] [--cache] [--dla N] [--l4t VERSION] [--gpu NAME]
                         [--root DIR] [--insist]

build.sh calls it. It prints assignments for sh. Exit codes: 2 the options make no sense, 3 the folder is not for this
board, its JetPack or its TensorRT, 4 the folder is damaged; with each of them one line on standard error.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import shlex
import sys
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

FOLDER = os.path.dirname(os.path.abspath(__file__))
USAGE, REFUSED, DAMAGED = 2, 3, 4
TWIN = "-fp16"  # ends the name of a quantized model whose other floats are halves
LAST_WITH_CACHE = (10, 99)
FIRST_TYPED = (10, 0)

Version = Tuple[int, ...]
Facts = Dict[str, Any]


class Stop(Exception):
    """The text is one line that says why; `code` is the exit code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Here(NamedTuple):
    """What the device tree and Jetson Linux say: the model in words, what is compatible, a release like 36.4."""

    model: str
    compatible: str
    l4t: str


class Choice(NamedTuple):
    """The model to build from, how trtexec is to take it (see build.sh), and whether the cache goes with it."""

    model: str
    mode: str
    cached: bool


def text_of(root: str, path: str) -> str:
    """What a file of the system says, without zero bytes; empty if there is none."""
    try:
        with open(root + path, "rb") as stream:
            return stream.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""


def look(root: str, l4t: str) -> Here:
    """What this board says about itself; `l4t` is the release where /etc/nv_tegra_release does not say it."""
    found = re.match(r"#\s*R(\d+).*?REVISION:\s*([\d.]+)", text_of(root, "/etc/nv_tegra_release"))
    release = ".".join(found.groups()) if found else l4t
    return Here(text_of(root, "/proc/device-tree/model"), text_of(root, "/proc/device-tree/compatible"), release)


def fitting(boards: Sequence[Facts], here: Here) -> List[Facts]:
    """The profiles of this board, whatever JetPack it has; the module decides, else the name of the model."""
    by_module = [b for b in boards if any(module in here.compatible for module in b["modules"])]
    return by_module or [b for b in boards if any(name in here.model for name in b["models"])]


def suiting(known: Sequence[Facts], here: Here) -> List[str]:
    """The names of those for the Jetson Linux that runs here; of all where that cannot be told."""
    release = here.l4t.split(".")[0]
    return [b["profile"] for b in known if release in b["l4t"] or not release]


def check_board(bundle: Facts, here: Here) -> None:
    """Refuses a board, or a JetPack on it, that the folder is not for."""
    if all(board["profile"] != bundle["profile"] for board in bundle["boards"]):  # for any
        return
    wanted = f"this folder is for {bundle['device']}"
    if not here.model and not here.compatible:
        hidden = "no /proc/device-tree/model: no Jetson, or a container that hides it"
        raise Stop(REFUSED, f"{hidden}; {wanted}: run it there; --insist builds all the same")
    known = fitting(bundle["boards"], here)
    suited = suiting(known, here)
    advice = f"export with --profile {' or '.join(suited)}" if suited else "edgeport has no profile for it"
    if not any(b["device"] == bundle["device"] for b in known):
        raise Stop(REFUSED, f"this board is {here.model or here.compatible}; {wanted}: {advice}")
    if bundle["profile"] not in suited:
        packs = " to ".join(bundle["jetpack"])
        raise Stop(REFUSED, f"this board runs Jetson Linux R{here.l4t}; {wanted} with JetPack {packs}: {advice}")


def check_tensorrt(bundle: Facts, here: Here, tensorrt: Version) -> None:
    """Refuses a TensorRT outside the range that the files were written for; patches newer than it are taken."""
    oldest, newest = (numbers(text) for text in bundle["tensorrt"])
    if tensorrt < oldest or tensorrt[:2] > newest[:2]:
        span = " to ".join(re.sub(r"(\.99)?\.0$", "", text) for text in bundle["tensorrt"])
        installed = ".".join(map(str, tensorrt))
        suited = [] if bundle["profile"] else suiting(fitting(bundle["boards"], here), here)
        how = "with the --profile of this JetPack" if bundle["profile"] else "with a --profile"
        how = f"with --profile {' or '.join(suited)}" if suited else how
        raise Stop(REFUSED, f"TensorRT {installed} is installed here; this folder is for {span}: export {how}")


def numbers(version: str) -> Version:
    """8.5.2 as three integers."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def choose(bundle: Facts, precision: str, tensorrt: Version, cache: bool, dla: int) -> Choice:
    """Which file is built, and how; refuses what the board or its TensorRT does not do."""
    held = bundle["models"]
    if precision in bundle["lacks"]:
        raise Stop(REFUSED, f"--precision {precision} does not run on {bundle['device']}: {bundle['lacks'][precision]}")
    if dla >= 0:
        check_dla(bundle, precision, tensorrt, dla)
    if cache or (dla >= 0 and precision == "int8"):
        if precision != "int8":
            raise Stop(USAGE, f"--cache is for --precision int8, not {precision}")
        if tensorrt > LAST_WITH_CACHE:
            raise Stop(REFUSED, f"TensorRT {tensorrt[0]} reads no calibration cache; leave --cache and --dla out")
        if not bundle["cache"]:
            raise Stop(USAGE, "this folder holds no calibration cache: leave --cache and --dla out")
        return Choice("fp32", "implicit", True)
    if precision == "fp32":
        return Choice("fp32", "float", False)
    if precision == "fp16" and precision in bundle["precisions"]:
        if "fp16" in held and tensorrt >= FIRST_TYPED and dla < 0:
            return Choice("fp16", "typed", False)
        if tensorrt <= LAST_WITH_CACHE:
            return Choice("fp32", "half", False)
    if precision not in held:
        raise Stop(USAGE, f"this folder holds {', '.join(sorted(held))}; export with --precision {precision}")
    if precision + TWIN in held and tensorrt >= FIRST_TYPED:
        return Choice(precision + TWIN, "typed", False)
    if precision != "int8":
        return Choice(precision, "typed", False)
    return Choice(precision, "explicit" if precision in bundle["quantized"] else "half", False)


def check_dla(bundle: Facts, precision: str, tensorrt: Version, dla: int) -> None:
    """Refuses a DLA that is not there, or that does not do what is asked."""
    if dla >= bundle["dla"]:
        cores = bundle["dla"] or "no"
        raise Stop(REFUSED, f"--dla {dla}: {bundle['device']} has {cores} DLA core(s) that this folder can use")
    if tensorrt > LAST_WITH_CACHE:
        raise Stop(REFUSED, f"--dla {dla}: TensorRT {tensorrt[0]} has no DLA that these files suit")
    if precision not in ("fp16", "int8"):
        raise Stop(USAGE, f"--dla {dla} takes --precision fp16 or int8, not {precision}")


def digest_of(folder: str, bundle: Facts, names: Sequence[str]) -> str:
    """One sha256 of the files, each of which must be the one that edgeport wrote."""
    listed = {entry["path"]: entry["sha256"] for entry in bundle["files"]}
    for name in names:
        try:
            found = sha256_of(os.path.join(folder, name))
        except OSError as error:
            raise Stop(DAMAGED, f"{name}: {error.strerror}; copy the whole folder again") from error
        if found != listed[name]:
            raise Stop(
                DAMAGED, f"{name} is not the file that edgeport wrote (its sha256 differs); copy the folder again"
            )
    return hashlib.sha256("".join(listed[name] for name in names).encode("ascii")).hexdigest()


def sha256_of(path: str) -> str:
    """The digest of a file that may be larger than the memory."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def cuda_of(root: str) -> str:
    """The version of CUDA, for what depends on it; empty if it cannot be told."""
    found = re.search(
        r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"([\d.]+)"', text_of(root, "/usr/local/cuda/version.json")
    ) or re.search(r"CUDA Version ([\d.]+)", text_of(root, "/usr/local/cuda/version.txt"))
    return found.group(1) if found else ""


def memory_of(root: str) -> int:
    """MiB of memory, 0 if it cannot be told."""
    found = re.search(r"MemTotal:\s*(\d+) kB", text_of(root, "/proc/meminfo"))
    return int(found.group(1)) // 1024 if found else 0


def facts_of(options: argparse.Namespace, folder: str) -> Dict[str, str]:
    """What build.sh needs to know."""
    try:
        with open(os.path.join(folder, "bundle.json"), encoding="utf-8") as stream:
            bundle = json.load(stream)
    except (OSError, ValueError) as error:
        raise Stop(DAMAGED, f"bundle.json cannot be read ({error}); copy the whole folder again") from error
    here, tensorrt = look(options.root, options.l4t), numbers(options.tensorrt)
    if not options.insist:
        check_board(bundle, here)
        check_tensorrt(bundle, here, tensorrt)
    precision = options.precision or bundle["precision"]
    choice = choose(bundle, precision, tensorrt, options.cache, options.dla)
    files = list(bundle["models"][choice.model]) + ([bundle["cache"]] if choice.cached else [])
    device = here.model or options.gpu or platform.machine()
    named = re.sub(r"[^A-Za-z0-9]+", "-", device).strip("-").lower()
    board = named if options.insist else bundle["profile"] or named
    kind = precision + ("-cache" if choice.cached else "") + (f"-dla{options.dla}" if options.dla >= 0 else "")
    return {
        "BOARD": board,
        "DEVICE": device,
        "L4T": here.l4t,
        "CUDA": cuda_of(options.root),
        "MEMORY": str(memory_of(options.root)),
        "STEM": f"{bundle['name']}.{kind}.{board}",
        "MODEL": files[0],
        "MODE": choice.mode,
        "CACHE": bundle["cache"] if choice.cached else "",
        "DIGEST": digest_of(folder, bundle, files),
    }


def main(arguments: Sequence[str], folder: str = FOLDER) -> int:
    """Prints the assignments; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tensorrt", metavar="VERSION", required=True)
    parser.add_argument("--precision", metavar="P", default="")
    parser.add_argument("--cache", action="store_true")
    parser.add_argument("--dla", metavar="N", type=int, default=-1)
    parser.add_argument("--l4t", metavar="VERSION", default="")
    parser.add_argument("--gpu", metavar="NAME", default="")
    parser.add_argument("--root", metavar="DIR", default="")
    parser.add_argument("--insist", action="store_true")
    try:
        facts = facts_of(parser.parse_args(arguments), folder)
    except Stop as stop:
        print(f"build.sh: {stop}", file=sys.stderr)
        return stop.code
    for name in sorted(facts):
        print(f"{name}={shlex.quote(facts[name])}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
