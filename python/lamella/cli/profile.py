# SPDX-License-Identifier: Apache-2.0
"""`lamella profile model.onnx`: the time of every step, beside the limit that governs it.

Times are those of `lamella.profile`, limits those of `lamella bench`, measured in the same process
for as many threads as the program uses. `--trace` writes a file for chrome://tracing or Perfetto:
one call, its steps one behind the other, each at its best.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lamella import _core
from lamella.benchmarks import limits, measure, table
from lamella.benchmarks.tasks.model import work_of
from lamella.benchmarks.tasks.work import Work
from lamella.cli import model as models
from lamella.config import set_num_threads
from lamella.errors import UnsupportedError
from lamella.onnx.network import Model
from lamella.runtime.profile import Profile, Row, profile

HEADER = ["step", "time", "% of steps", "FLOP/s", "limit", "set by", "% of limit", "way"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `profile`."""
    models.add_model(parser)
    models.add_shapes(parser)
    parser.add_argument(
        "--input", nargs="+", default=[], metavar="[NAME=]FILE", help="instead of made-up values"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="the default is lamella's")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long to measure; 1")
    parser.add_argument("--json", metavar="FILE", help="also writes everything there; - prints it")
    parser.add_argument("--trace", metavar="FILE", help="writes a chrome-trace of a call there")


def run(options: argparse.Namespace) -> int:
    """Measures, prints and writes."""
    with models.refusals("profile"):
        if options.threads is not None:
            set_num_threads(options.threads)
        net = models.open_model(options)
        given = bool(options.input)
        arrays = (
            models.read_inputs(net, options.input) if given else models.made_inputs(net, options)
        )
        found, staged = _measure(net, arrays, options.seconds)
    machine = limits.of(found.threads)
    overview = machine.overview()
    result = {
        "model": options.model,
        "inputs": {name: list(array.shape) for name, array in arrays.items()},
        "machine": measure.machine_card(),
        "limits": overview,
        "threads": found.threads,
        "arena_bytes": found.arena_bytes,
        "staged": bool(staged),
        "call": _entry(found, machine.call, machine),
        "steps": [_entry(row, 0.0, machine) for row in found.rows],
    }
    with models.refusals("profile"):
        if options.trace:
            Path(options.trace).write_text(json.dumps(trace_of(found)) + "\n", encoding="utf-8")
        if options.json and options.json != "-":
            Path(options.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.json == "-":
        print(json.dumps(result, indent=1))
    else:
        print(limits.describe(result["machine"], overview, found.threads), end="\n\n")
        print(_render(found, result))
    if staged:
        print(
            "lamella profile: the model computes with integers while it runs: several programs, "
            f"with NumPy between them. The whole call is timed, not its steps ({staged})",
            file=sys.stderr,
        )
    return 0


def _measure(net: Model, arrays: models.Arrays, seconds: float) -> tuple[Profile, str]:
    """The profile, and why it has no rows."""
    try:
        return profile(net, *arrays.values(), seconds=seconds), ""
    except UnsupportedError as error:
        net(*arrays.values())  # raises where it runs in no way
        reason = str(error)
    call = measure.time_call(lambda: net(*arrays.values()), seconds)
    inputs = work_of(net, arrays).read
    return Profile([], call, 0.0, 0.0, inputs, 0.0, _core.num_threads(), 0), reason


def _entry(one: Row | Profile, call: float, machine: limits.Limits) -> dict[str, Any]:
    """A row, or the call, as plain values with its limit."""
    seconds = one.seconds if isinstance(one, Row) else one.call
    work = Work(one.flops, one.read + one.streamed - one.written, one.written)
    limit, set_by = machine.governing(work, call)
    entry: dict[str, Any] = {
        "seconds": seconds,
        "flops": one.flops,
        "flops_per_second": one.flops / seconds if seconds else 0.0,
        "bytes_read": one.read,
        "bytes_streamed": one.streamed,
        "limit_seconds": limit,
        "limit": set_by if limit else "",
        "share_of_limit": limit / seconds if seconds else 0.0,
    }
    if isinstance(one, Row):
        entry = {"op": one.op, "path": one.path, "shapes": [list(s) for s in one.shapes],
                 "kernels": dict(zip_times(one)), "ways": [*one.ways], **entry}  # fmt: skip
    return entry


def zip_times(row: Row) -> list[tuple[str, float]]:
    """The kernels of a row with their times, equal names numbered."""
    found: dict[str, float] = {}
    for kind, seconds in zip(row.kinds, row.times, strict=True):
        name, number = kind, 1
        while name in found:
            number += 1
            name = f"{kind} {number}"
        found[name] = seconds
    return list(found.items())


def _render(found: Profile, result: dict[str, Any]) -> str:
    total = found.seconds
    rows = []
    for row, entry in zip(found.rows, result["steps"], strict=True):
        ways = "; ".join(way for way in row.ways if way) or "-"
        rows.append([row.label, *_cells(entry, row.seconds / total if total else 0.0), ways])
    if rows:
        time = measure.format_time(total)
        rows.append(["all steps", time, "100.0", *[""] * 5])
    rows.append(["a call from Python", *_cells(result["call"], None), ""])
    return table.render(HEADER, rows)


def _cells(entry: dict[str, Any], share: float | None) -> list[str]:
    rate = measure.format_rate(entry["flops_per_second"], "FLOP/s") if entry["flops"] else "-"
    limit = entry["limit_seconds"]
    return [
        measure.format_time(entry["seconds"]),
        "" if share is None else f"{100 * share:.1f}",
        rate,
        measure.format_time(limit) if limit else "-",
        entry["limit"] or "-",
        f"{100 * entry['share_of_limit']:.0f}" if limit else "-",
    ]


def trace_of(found: Profile) -> dict[str, Any]:
    """A call as Chrome's trace events, in microseconds: the call, and its steps below it."""
    whole = max(found.call, found.seconds)
    at = (whole - found.seconds) / 2
    events: list[dict[str, Any]] = [_event("call", 0.0, whole, {"seconds": found.call})]
    for row in found.rows:
        for kind, way, seconds in zip(row.kinds, row.ways, row.times, strict=True):
            known = {"kernel": kind, "path": row.path} | ({"way": way} if way else {})
            events.append(_event(row.op, at, seconds, known))
            at += seconds
    return {"displayTimeUnit": "ns", "traceEvents": events}


def _event(name: str, start: float, seconds: float, args: dict[str, Any]) -> dict[str, Any]:
    times = {"ts": start * 1e6, "dur": seconds * 1e6}
    return {"name": name, "ph": "X", "pid": 1, "tid": 1, **times, "args": args}
