# SPDX-License-Identifier: Apache-2.0
"""What opening an ONNX file costs: the load, the first call, and the door beside the same nn model.

    python benchmarks/opening.py [--rounds N] [--megabytes N] [--markdown]

An MLP of float32 weights is written by lamella and loaded anew in each round. Weights are packed at
the first call, into memory that the process does not have yet; what that takes is what the first
call of the same nn model, as new, takes over its second. Times are the best of the rounds.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

if not __package__:  # run as a script: PEP 366
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    __package__ = "benchmarks"

from lamella import nn
from lamella.onnx import load, save

from . import limits, measure, table

HEADER = ["measured", "time", "at most", "because"]
SMALL = (64, 64, 64, 4)
LAYERS = 5


@dataclass(frozen=True)
class Row:
    """A time and its bound, in seconds."""

    name: str
    seconds: float
    limit: float
    because: str

    def cells(self) -> list[str]:
        return [
            self.name,
            measure.format_time(self.seconds),
            measure.format_time(self.limit),
            self.because,
        ]


def mlp(sizes: tuple[int, ...]) -> nn.Module:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def two_calls(net: nn.Module, x: np.ndarray) -> tuple[float, float]:
    """Seconds of the first call and of the second."""
    marks = [time.perf_counter()]
    for _ in range(2):
        net(x)
        marks.append(time.perf_counter())
    return marks[1] - marks[0], marks[2] - marks[1]


def opening(
    path: str, same: Callable[[], nn.Module], x: np.ndarray, rounds: int
) -> dict[str, float]:
    """Seconds of load, first and second call, and of packing."""
    times: dict[str, list[float]] = {}

    def keep(name: str, value: float) -> None:
        times.setdefault(name, []).append(value)

    for _ in range(rounds):
        start = time.perf_counter()
        net: nn.Module = load(path)
        keep("load", time.perf_counter() - start)
        first, second = two_calls(net, x)
        keep("first", first)
        keep("second", second)
        first, second = two_calls(same(), x)
        keep("packing and a call", first)
        keep("a call", second)
    best = {name: min(found) for name, found in times.items()}
    best["packing"] = best["packing and a call"] - best["a call"]
    return best


def beside(first: nn.Module, second: nn.Module, x: np.ndarray, rounds: int) -> tuple[float, float]:
    """Seconds of a call of each, in turn."""
    best = [math.inf, math.inf]
    for _ in range(rounds):
        for index, net in enumerate((first, second)):
            best[index] = min(best[index], measure.time_call(partial(net, x), 0.05))
    return best[0], best[1]


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=float, default=100.0, help="of weights; 100")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    width = max(1, round(math.sqrt(options.megabytes * 1e6 / 4 / LAYERS)))
    sizes = (width,) * (LAYERS + 1)
    large = mlp(sizes)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, width)).astype(np.float32)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.onnx")
        save(large, path, x)
        size = os.path.getsize(path) / 1e6
        found = opening(path, lambda: mlp(sizes), x, options.rounds)
        rows.append(Row(f"load an MLP of {size:.3g} MB", found["load"], 0.5, "a promise"))
        limit = 2 * found["second"] + found["packing"]
        rows.append(Row("its first call, batch 1", found["first"], limit, "2 x second + packing"))
        door, same = beside(load(path), large, x, options.rounds)
        rows.append(Row("its later calls", door, same, "the same nn model"))
        small, x = mlp(SMALL), rng.standard_normal((1, SMALL[0])).astype(np.float32)
        save(small, path, x)
        door, same = beside(load(path), small, x, options.rounds)
        name = "-".join(map(str, SMALL))
        rows.append(Row(f"MLP {name}, batch 1", door, same, "the same nn model"))
    draw = table.markdown if options.markdown else table.render
    print(limits.describe(measure.machine_card(), limits.of(1).overview(), 1), end="\n\n")
    print(draw(HEADER, [row.cells() for row in rows]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
