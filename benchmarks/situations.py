# SPDX-License-Identifier: Apache-2.0
"""What a service meets beside one call in a loop: the measurements behind sizes.py.

    python -m benchmarks.situations SITUATION LIBRARY THREADS SCALE ...

One situation and one library a process, which answers with one line of JSON: {"found": {cell:
seconds, bytes or a ratio}}, or {"missing": reason}. ONNX Runtime runs what lamella wrote.
"""

from __future__ import annotations

import gc
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count, pairwise
from typing import Any, NamedTuple

import numpy as np

from lamella import nn, onnx

from . import rivals
from .encoder import Decoder, Encoder
from .measure import time_call

Call = Callable[[np.ndarray], Any]
Found = dict[str, float]

OURS = "lamella"

# What tells the same work from other work, in units of the largest element of an answer.
TOLERANCE = 1e-4


class Scale(NamedTuple):
    """How much is measured: rounds, the largest batch and length, the width of large layers."""

    rounds: int
    batch: int
    length: int
    width: int


class Task(NamedTuple):
    """A net on rows of so many features; most: the largest number of rows at this scale."""

    name: str
    make: Callable[[], nn.Module]
    features: int
    most: Callable[[Scale], int]

    def rows(self, size: int) -> np.ndarray:
        """The input of this size, the same at every call."""
        return np.random.default_rng(size).standard_normal((size, self.features), np.float32)


def dense(*sizes: int) -> nn.Module:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


MLP = Task("MLP", lambda: dense(64, 64, 64, 4), 64, lambda scale: scale.batch)
TRANSFORMER = Task(
    "transformer", lambda: Encoder(4, 128, 4).eval(), 128, lambda scale: scale.length
)
TASKS = (MLP, TRANSFORMER)


def require_same(name: str, want: Any, got: Any) -> None:
    """Raises ValueError where a library's answer is another than lamella's."""
    error = np.max(np.abs(np.asarray(want) - got))
    if not error <= TOLERANCE * max(1.0, float(np.max(np.abs(want)))):
        raise ValueError(f"{name}: another answer")


class Library:
    """lamella or ONNX Runtime: `new` gives a net that nobody has called."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self.threads, self.ours = name, threads, name == OURS
        self.rival: Any = rivals.load(name, threads)

    def new(self, task: Task) -> Call:
        """ONNX Runtime's first axis is free. Raises ValueError where its answer is another."""
        net = task.make()
        if self.ours:
            return net
        call = self.opened(onnx.encode(net, task.rows(3)))
        for size in (2, 7):
            require_same(task.name, net(task.rows(size)), call(task.rows(size)))
        return self.opened(onnx.encode(net, task.rows(3)))

    def opened(self, file: bytes | str) -> Call:
        """A session of a file, or of its bytes, as a call."""
        session = self.rival._load(file)
        (name,) = (one.name for one in session.get_inputs())
        return lambda x: session.run(None, {name: x})[0]


def in_turn(library: Library, scale: Scale) -> Found:
    """Seconds of a call where the sizes come in turn, beyond those where each comes again."""
    call, inputs = library.new(MLP), [MLP.rows(size + 1) for size in range(scale.batch)]
    turns, again = [], 0.0
    for _ in range(scale.rounds + 1):
        start = time.perf_counter()
        for x in inputs:
            call(x)
        turns.append(time.perf_counter() - start)
    for x in inputs:
        again += time_call(partial(call, x), 1e-4 * scale.rounds)
    return {MLP.name: max(0.0, min(turns[1:]) - again) / len(inputs)}


def _order(most: int, seed: int) -> list[int]:
    """2, ..., most in random order, the largest and the smallest first."""
    order = list(range(3, most))
    random.Random(seed).shuffle(order)
    return [most, 2, *order]


def never_seen(library: Library, scale: Scale) -> Found:
    """The median, over sizes, of a first call's seconds beyond those of the next ones.

    Two sizes have come before, so that the memory is there that the largest one needs.
    """
    clock, found = time.perf_counter, {}
    for task in TASKS:
        beyond = []
        for seed in range(max(1, scale.rounds // 3)):
            call = library.new(task)
            for place, size in enumerate(_order(task.most(scale), seed)):
                x, times = task.rows(size), []
                for _ in range(4):
                    start = clock()
                    call(x)
                    times.append(clock() - start)
                if place >= 2:
                    beyond.append(times[0] - min(times[1:]))
        found[task.name] = max(0.0, statistics.median(beyond))
    return found


def decoding(library: Library, scale: Scale) -> Found:
    """Seconds of a token, the same layer being asked for one after the other."""
    width, heads, capacity = 128, 4, 256
    net = Decoder(width, heads, capacity).eval()
    tokens = np.random.default_rng(0).standard_normal((capacity, width), np.float32)
    lengths = [np.array(length) for length in range(capacity)]
    call: Callable[..., Any] = net
    if not library.ours:
        call = library.rival.decoder(net.state_dict(), heads, capacity)
        for x, length in zip(tokens[:20], lengths, strict=False):
            require_same("decoding", net(x, length), call(x, length))
    best = float("inf")
    for _ in range(scale.rounds + 1):
        start = time.perf_counter()
        for x, length in zip(tokens, lengths, strict=True):
            call(x, length)
        best = min(best, time.perf_counter() - start)
    return {"token": best / capacity}


def resident() -> int:
    """Bytes of memory that this process holds."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def one_more_size(library: Library, scale: Scale) -> Found:
    """Bytes that each size adds to the process, after the largest one and a few others."""
    found = {}
    for task in TASKS:
        call, order = library.new(task), _order(task.most(scale), 0)
        for size in order[:5]:
            call(task.rows(size))
        before = resident()
        for size in order[5:]:
            call(task.rows(size))
        found[task.name] = max(0, resident() - before) / len(order[5:])
    return found


def copying(nbytes: int, threads: int) -> float:
    """Seconds in which so many threads copy so many bytes into memory that is new."""
    source = np.ones((threads, nbytes // 4 // threads), np.float32)
    target = np.empty_like(source)
    team = [threading.Thread(target=np.copyto, args=(target[i], source[i])) for i in range(threads)]
    start = time.perf_counter()
    for member in team:
        member.start()
    for member in team:
        member.join()
    return time.perf_counter() - start


def watched(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of a call, and for how long at most another Python thread stood still meanwhile."""
    nap, longest, over = 5e-4, 0.0, threading.Event()

    def watch() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not over.is_set():
            time.sleep(nap)
            now = time.perf_counter()
            longest, last = max(longest, now - last - nap), now

    watcher = threading.Thread(target=watch)
    watcher.start()
    time.sleep(0.02)
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    over.set()
    watcher.join()
    return seconds, longest


def large(library: Library, scale: Scale) -> Found:
    """Four layers of width x width: the first call of one row, and what it leaves in memory.

    Of several nets the quickest, as of the copies: a virtual machine gets memory that it has never
    had from its host, which takes ten times as long. Of the stops the longest.
    """
    sizes = [scale.width] * 5
    weights = 4 * sum(a * b + b for a, b in pairwise(sizes))
    x = np.ones((1, scale.width), np.float32)
    found: Found = {"first": float("inf"), "stop": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.onnx")
        if not library.ours:
            onnx.save(dense(*sizes), path, x)
        for _ in range(min(scale.rounds, 3)):
            net: Any = None
            before = resident()
            net = dense(*sizes) if library.ours else library.opened(path)
            first, stop = watched(partial(net, x))
            found["first"], found["stop"] = min(found["first"], first), max(found["stop"], stop)
            found["held"] = (resident() - before) / weights
            if library.ours:
                net.freeze()
                net(x)
                found["frozen"] = (resident() - before) / weights
    found["copy"] = min(copying(weights, library.threads) for _ in range(scale.rounds))
    return found


def modes(library: Library, scale: Scale) -> Found:
    """Calls after an attribute of another module has changed, and after train() and eval()."""
    if not library.ours:
        raise LookupError("not offered")
    net, other, x = dense(64, 64, 64, 4), dense(8, 8), np.ones((1, 64), np.float32)
    other(np.ones((1, 8), np.float32))
    numbers = count()

    def mark() -> None:
        other.note = next(numbers)

    def both() -> None:
        mark()
        net(x)

    seconds = 0.01 * scale.rounds
    found = {"call": time_call(partial(net, x), seconds)}
    found["attribute"] = max(0.0, time_call(both, seconds) - time_call(mark, seconds))
    deep, row = dense(*[16] * 13), np.ones((1, 16), np.float32)

    def switch() -> None:
        deep.train()
        deep.eval()

    def switch_and_call() -> None:
        switch()
        deep(row)

    found["deep call"] = time_call(partial(deep, row), seconds)
    found["switch"] = time_call(switch, seconds)
    found["switched"] = max(0.0, time_call(switch_and_call, seconds) - found["switch"])
    return found


SITUATIONS: dict[str, Callable[[Library, Scale], Found]] = {
    "in turn": in_turn,
    "never seen": never_seen,
    "one more size": one_more_size,
    "decoding": decoding,
    "large": large,
    "modes": modes,
}


def main(arguments: Sequence[str]) -> None:
    """Measures one situation."""
    # Whatever a library prints must not be taken for the answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name, library, threads, *scale = arguments
    try:
        found = SITUATIONS[name](Library(library, int(threads)), Scale(*map(int, scale)))
        answers.write(json.dumps({"found": found}) + "\n")
    except (ImportError, LookupError, ValueError) as error:
        answers.write(json.dumps({"missing": str(error)}) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
