# SPDX-License-Identifier: Apache-2.0
"""All cases, or some of them: python -m corners.run --help.

Prints the findings and, at the end, how many cases ended how. With --show the cases of one more
kind of verdict are printed, with --loud every case before it runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from fnmatch import fnmatch

from corners.draw import operators
from corners.families import GENERATORS
from corners.judge import draw, judge


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200, help="of every operator")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--op", nargs="*", help="operators, as in RULES; all by default")
    parser.add_argument("--show", default="", help="a verdict whose cases are printed")
    parser.add_argument("--loud", action="store_true", help="names every case before it runs")
    options = parser.parse_args()
    start = time.process_time()
    keys = [
        key for key in operators() if not options.op or any(fnmatch(key, of) for of in options.op)
    ]
    verdicts: Counter[str] = Counter()
    reasons: Counter[tuple[str, str]] = Counter()
    findings = 0
    for key in keys:
        for number in range(options.first, options.first + options.cases):
            case = draw(key, GENERATORS, number)
            if options.loud:
                print(case, flush=True)
            verdict = judge(case)
            verdicts[verdict.kind] += 1
            if verdict.kind in ("decided", "open", "refused", "alone"):
                reasons[verdict.kind, verdict.why] += 1
            if verdict.finding or verdict.kind == options.show:
                findings += verdict.finding
                print(f"{verdict.kind}: {verdict.why}\n{verdict.report or case}", flush=True)
    print(f"{len(keys)} operators, {sum(verdicts.values())} cases,", end=" ")
    print(f"{time.process_time() - start:.0f} s of CPU: {findings} findings")
    for kind, count in verdicts.most_common():
        print(f"{count:7} {kind}")
        for (of, why), part in reasons.most_common():
            if of == kind:
                print(f"{part:14} {why}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
