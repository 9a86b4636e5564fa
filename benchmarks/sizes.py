# SPDX-License-Identifier: Apache-2.0
"""What changing sizes, large weights and changed modules cost, beside ONNX Runtime.

    python benchmarks/sizes.py [--rows WORD ...] [--threads 1 2] [--rounds N] [--markdown]

Every row is measured by situations.py, in a process of its own for each library. A time of a new
size is what the first call takes beyond the next ones, memory is what the process holds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

if not __package__:  # run as a script: PEP 366
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    __package__ = "benchmarks"

from . import measure, process, table
from .situations import MLP, OURS, SITUATIONS, TRANSFORMER, Found, Scale

LIBRARIES = (OURS, "onnxruntime")
HEADER = ["measured", "threads", *LIBRARIES, "at most", "because"]


class Row(NamedTuple):
    """A cell of what a situation finds, how it is written, and its bound."""

    situation: str
    cell: str
    name: str
    form: Callable[[float], str]
    limit: Callable[[Found], float]
    because: str


def _bytes(value: float) -> str:
    return measure.format_rate(value, "B")


def _ratio(value: float) -> str:
    return f"{value:.2f}x"


def rows(scale: Scale) -> list[Row]:
    """All rows, in the order of the table."""
    time, net, encoder = measure.format_time, "MLP 64-64-64-4", "transformer 4 x 128"
    large = f"4 layers of {scale.width} x {scale.width}"
    own = "a promise"
    return [
        Row("in turn", MLP.name, f"{net}, batches 1..{scale.batch} in turn: over one again",
            time, lambda _: 2e-6, own),
        Row("never seen", MLP.name, f"{net}: a batch never seen", time, lambda _: 30e-6, own),
        Row("never seen", TRANSFORMER.name, f"{encoder}: a length never seen, up to {scale.length}",
            time, lambda _: 250e-6, own),
        Row("one more size", MLP.name, f"{net}: memory of one more batch", _bytes,
            lambda _: 20e3, own),
        Row("one more size", TRANSFORMER.name, f"{encoder}: memory of one more length", _bytes,
            lambda _: 60e3, own),
        Row("decoding", "token", "a token, attention 128 with 256 keys and values kept", time,
            lambda _: 15e-6, own),
        Row("large", "first", f"{large}: first call", time, lambda found: 1.2 * found["copy"],
            "1.2 x a copy of the weights"),
        Row("large", "stop", f"{large}: another Python thread stops meanwhile", time,
            lambda _: 5e-3, own),
        Row("large", "held", f"{large}: memory behind it, in weights", _ratio, lambda _: 2.05,
            "the arrays, and packed"),
        Row("large", "frozen", f"{large}: after freeze(), in weights", _ratio, lambda _: 1.05, own),
        Row("modes", "attribute", f"{net}: a call after another module's attribute was set", time,
            lambda found: found["call"], "a call alone"),
        Row("modes", "switched", "12 layers: a call after train() and eval()", time,
            lambda found: found["deep call"], "a call alone"),
    ]  # fmt: skip


def measured(chosen: list[Row], threads: int, scale: Scale) -> list[list[str]]:
    """The cells of these rows; a library that is missing or does not offer one has a dash."""
    found: dict[str, dict[str, Found]] = {}
    for situation in dict.fromkeys(row.situation for row in chosen):
        # One core more where a thread watches the others.
        cores = threads + (situation == "large")
        found[situation] = {}
        for library in LIBRARIES:
            given = [situation, library, str(threads), *map(str, scale)]
            reply = process.once("situations", given, threads, cores)
            if reply.get("missing") not in (None, "not offered"):
                print(f"{situation}: {library} left out: {reply['missing']}", file=sys.stderr)
            found[situation][library] = reply.get("found", {})
            print(f"{situation}, {library}, {threads} threads ...", file=sys.stderr, flush=True)
    lines = []
    for row in chosen:
        ours = found[row.situation][OURS]
        cells = (found[row.situation][library].get(row.cell) for library in LIBRARIES)
        values = ["-" if cell is None else row.form(cell) for cell in cells]
        limit = row.form(row.limit(ours)) if ours else "-"
        lines.append([row.name, str(threads), *values, limit, row.because])
    return lines


def main() -> int:
    """Prints the table; 1 where lamella has no number for a situation."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--rows", nargs="+", metavar="WORD", help="those whose name has one of them"
    )
    parser.add_argument("--threads", nargs="*", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=200, help="the largest one; 200")
    parser.add_argument("--length", type=int, default=300, help="the largest one; 300")
    parser.add_argument("--width", type=int, default=4096, help="of the large layers; 4096")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    scale = Scale(options.rounds, options.batch, options.length, options.width)
    words = options.rows or [""]
    chosen = [row for row in rows(scale) if any(word in row.name for word in words)]
    assert {row.situation for row in rows(scale)} == SITUATIONS.keys()
    lines = [line for threads in options.threads for line in measured(chosen, threads, scale)]
    draw = table.markdown if options.markdown else table.render
    print(measure.describe_machine(measure.machine_card()), end="\n\n")
    print(draw(HEADER, lines))
    return 0 if lines and any(line[2] != "-" for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
