"""ONNX's node tests as the tensorrt target writes them, against NVIDIA's own parser: who takes which.

    python benchmarks/tensorrt_oracle.py                           each case that is not taken, why, and the counts
    python benchmarks/tensorrt_oracle.py --only Resize,test_abs    of some operators or tests
    python benchmarks/tensorrt_oracle.py --precision fp16          the files for strongly typed networks
    python benchmarks/tensorrt_oracle.py --profile jetson-nano-jp4 the files for a board; the parser stays the same
    python benchmarks/tensorrt_oracle.py --build                   what both take is also built, for SM 8.6

TensorRT for RTX (the extra `tensorrt`) parses without a GPU. Its parser is of the TensorRT 11 generation: without a
profile, what it says is compared with what `edgeport.targets.tensorrt.limits` knows of TensorRT 11.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the cases, which are the tests'

from edgeport.errors import EdgeportError
from edgeport.preparation import prepare
from edgeport.quantize.plan import Plan
from edgeport.targets.contract import facts_of
from edgeport.targets.registry import load_profile
from edgeport.targets.tensorrt import oracle
from edgeport.targets.tensorrt.board import Board, board_of
from edgeport.targets.tensorrt.limits import objections
from edgeport.targets.tensorrt.models import models_of
from edgeport.targets.tensorrt.operators import imports
from tests.conformance.cases import Case, load_cases

BOARD = replace(board_of({}), oldest=oracle.GENERATION)
"""Any board, with the oldest TensorRT that has the parser that is asked."""


def verdict_on(case: Case, board: Board, precision: str, build: bool) -> tuple[str, str]:
    """Who takes the case, and the reason of who does not."""
    try:
        canonical = prepare(onnx.ModelProto.FromString(case.model)).canonical
    except EdgeportError as error:
        return "not read", str(error)
    try:
        model = models_of(canonical, Plan(precision), board)[precision]
    except EdgeportError as error:
        return "not in this opset", str(error)
    data = ir.to_proto(model).SerializeToString()
    ours, theirs = objections(model, board), oracle.rejections(data)
    if ours and theirs:
        return "refused by both", f"{ours[0].op}: {ours[0].message} / {theirs[0].op}: {theirs[0].message}"
    if ours:
        return "we refuse, the parser takes it", f"{ours[0].op}: {ours[0].message}"
    if theirs:
        return "we take it, the parser rejects", f"{theirs[0].op}: {theirs[0].message}"
    if build:
        try:
            oracle.build(data, ("SM86",))
        except oracle.WorkerError as error:
            return "parsed, not built", str(error)
    return "taken by both", ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="operators or tests, comma-separated")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "fp16"))
    parser.add_argument("--profile", help="a device of the tensorrt target")
    parser.add_argument("--build", action="store_true", help="also build what both take")
    args = parser.parse_args()
    if not oracle.installed():
        parser.error(f"TensorRT for RTX is not installed: pip install {oracle.REQUIREMENT}")
    board = board_of(facts_of(load_profile(args.profile))) if args.profile else BOARD
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    theirs, ours = oracle.importers(known), {name for name in known if imports(name, BOARD.oldest)}
    print(
        f"{len(known)} operators: NVIDIA's parser alone has {sorted(theirs - ours)}, our table {sorted(ours - theirs)}"
    )
    counts: Counter[str] = Counter()
    for case in load_cases([word for word in args.only.split(",") if word]):
        verdict, reason = verdict_on(case, board, args.precision, args.build)
        counts[verdict] += 1
        if reason:
            print(f"{verdict:32} {case.op:22} {case.name}: {reason[:300]}", flush=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))


if __name__ == "__main__":
    main()
