# SPDX-License-Identifier: Apache-2.0
"""Compares two results of run.py --json: which rows of lamella became faster or slower.

    python benchmarks/compare.py before.json after.json [--threshold 5]

Times are set in relation to the limit measured in the same run, so that a different clock or a
busy neighbour does not pass for a change. Ends with status 1 when a row lost more than the
threshold (in percent).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def read(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Rows of a result file by task and thread count."""
    rows = json.loads(path.read_text())["rows"]
    return {(row["task"], row["threads"]): row for row in rows}


def change(before: dict[str, Any], after: dict[str, Any]) -> float:
    """Speed after / speed before, both as a share of their own limit."""
    shares = [row["limit"] / row["times"]["lamella"] for row in (before, after)]
    return float(shares[1] / shares[0])


def main() -> None:
    """Prints one line a row, slowest change first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--threshold", type=float, default=5.0, help="loss in percent that fails")
    options = parser.parse_args()

    before, after = read(options.before), read(options.after)
    shared = sorted(before.keys() & after.keys(), key=lambda k: change(before[k], after[k]))
    if not shared:
        sys.exit("the two files share no row")
    for key in shared:
        print(f"{change(before[key], after[key]):6.2f}x  {key[0]}, {key[1]} threads")
    for key in sorted(before.keys() ^ after.keys()):
        print(f"     -   {key[0]}, {key[1]} threads: only in one file")
    if change(before[shared[0]], after[shared[0]]) < 1.0 - options.threshold / 100.0:
        sys.exit(1)


if __name__ == "__main__":
    main()
