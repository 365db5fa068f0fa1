"""Runs the node tests on targets; a full run writes the table of the guide.

python -m tests.conformance                                          docs/conformance.md anew
python -m tests.conformance --only Attention,Resize,test_abs         each case that does not pass, and why
"""

from __future__ import annotations

import argparse
from collections import Counter

from .cases import load_cases
from .outcomes import VERDICTS
from .run import run_cases
from .table import PAGE, TARGETS, page


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--target", default=",".join(TARGETS), help="target names, comma-separated")
    parser.add_argument("--only", default="", help="operators or tests, comma-separated; the page is not written")
    parser.add_argument("--jobs", type=int, help="worker processes")
    parser.add_argument("--dry", action="store_true", help="do not write the page")
    args = parser.parse_args()
    targets = tuple(args.target.split(","))
    cases = load_cases([word for word in args.only.split(",") if word])
    if not cases:
        parser.error(f"--only {args.only}: no such operator or test")
    results = {}
    for target in targets:
        outcomes = results[target] = run_cases(cases, target, args.jobs)
        for case in cases:
            outcome = outcomes[case.name]
            if outcome.verdict != "pass":
                print(f"{outcome.verdict:8} {case.op:22} {case.name}: {outcome.reason}")
        counts = Counter(outcome.verdict for outcome in outcomes.values())
        print(f"{target}: {len(cases)} cases, " + ", ".join(f"{counts[v]} {v}" for v in VERDICTS))
    if not args.only and targets == TARGETS and not args.dry:
        PAGE.write_text(page(cases, results), encoding="utf-8")
        print(f"wrote {PAGE.relative_to(PAGE.parents[1])}")


if __name__ == "__main__":
    main()
