# SPDX-License-Identifier: Apache-2.0
"""Runs kernels on arrays that touch guard pages: python sweep.py ISA [FAMILY ...].

A process of its own, because a kernel that reads one byte too far ends it. Before each run the
case is written to stdout; the last line therefore names what was running when a fault came. Each
result must equal the same program's on ordinary arrays, and no byte around the arrays may change.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

import byte_programs
import programs
from cases import elementwise
from comparators import same_values
from guard.pages import ENDS, Rooms
from lamella import _core
from lamella.ir.types import DType

# A program and its inputs, by a name for messages.
Run = tuple[str, _core.Program, list[np.ndarray]]

# Four vectors and every tail, for the widest vectors there are here.
LANES = {"float32": 8, "float64": 4}


def lengths(dtype: str) -> range:
    return range(4 * LANES[dtype] + 4)


def numbers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Values inside every function's domain, none of them alike."""
    count = int(np.prod(shape))
    return (0.25 + np.arange(count) % 61 / 64).astype(dtype).reshape(shape)


def unary_runs(dtype: str) -> Iterator[Run]:
    for name, case in elementwise.UNARY.items():
        for n in lengths(dtype):
            program = programs.unary(name, dtype, (n,), case.params[0])
            yield f"{name} {dtype} n={n}", program, [numbers((n,), dtype)]


def binary_runs(dtype: str) -> Iterator[Run]:
    names = [*elementwise.BINARY_EXACT, "pow", *elementwise.CHOICES]
    tables = [(name, dtype) for name in names] + [(name, "bool") for name in elementwise.COMPARE]
    for name, result in tables:
        for n in lengths(dtype):
            for a, b in (((n,), (n,)), ((n,), (1,)), ((1,), (n,))):
                program = programs.binary(name, dtype, a, b, result)
                inputs = [numbers(a, dtype), numbers(b, dtype)[::-1].copy()]
                yield f"{name} {dtype} {a} {b}", program, inputs
    for n in lengths(dtype):
        condition = np.arange(n) % 3 == 1
        inputs = [condition, numbers((n,), dtype), -numbers((n,), dtype)]
        yield f"select {dtype} n={n}", programs.select(dtype, (n,)), inputs
        for name in elementwise.LOGICAL:
            program = programs.chain([("bool", (n,))] * 2, [(name, "bool", (0, 1), ())], "bool")
            yield f"{name} n={n}", program, [condition, np.arange(n) % 2 == 0]


def chain_runs(dtype: str) -> Iterator[Run]:
    code = [("mul", dtype, (0, 1), ()), ("tanh", dtype, (2,), ()), ("add", dtype, (3, 0), ())]
    # What is joined to one pass: a (b - a a), and a comparison with what it selects.
    slopes = [("square", dtype, (0,), ()), ("sub", dtype, (1, 2), ()), ("mul", dtype, (3, 0), ())]
    choice = [("le", "bool", (0, 1), ()), ("select", dtype, (2, 1, 0), ())]
    for rows in (1, 2, 3, 5):
        for n in lengths(dtype):
            for shapes in (
                ((rows, n), (rows, n)),
                ((rows, n), (n,)),
                ((rows, n), (rows, 1)),
                ((rows, 1), (1, n)),
            ):
                for kind, one in (("chain", code), ("slopes", slopes), ("choice", choice)):
                    program = programs.chain([(dtype, shape) for shape in shapes], one, dtype)
                    name = f"{kind} {dtype} {shapes}"
                    yield name, program, [numbers(s, dtype) for s in shapes]


def reduce_runs(dtype: str) -> Iterator[Run]:
    columns = ("sum", "mean", "max", "min", "prod")
    rows_only = ("logsumexp", "var", "std", "norm", "argmax", "argmin")
    for kind in (*columns, *rows_only):
        for outer in (1, 5):
            for n in (n for n in lengths(dtype) if n > 0):
                program = programs.reduce(kind, dtype, outer, n, 1)
                yield f"{kind} {dtype} ({outer}, {n}, 1)", program, [numbers((outer, n, 1), dtype)]
                if kind in columns:
                    for size in (1, 2, 5):
                        program = programs.reduce(kind, dtype, outer, size, n)
                        x = numbers((outer, size, n), dtype)
                        yield f"{kind} {dtype} ({outer}, {size}, {n})", program, [x]


def rows_runs(dtype: str) -> Iterator[Run]:
    # Five rows: a group of four and one alone.
    for rows in (1, 2, 3, 5):
        for n in (n for n in lengths(dtype) if n > 0):
            x = numbers((rows, n), dtype)
            for log in (False, True):
                program = programs.softmax(dtype, rows, n, log=log)
                yield f"softmax {dtype} ({rows}, {n}) log={log}", program, [x]
            program = programs.layer_norm(dtype, rows, n)
            inputs = [x, numbers((n,), dtype), -numbers((n,), dtype)]
            yield f"layer_norm {dtype} ({rows}, {n})", program, inputs
            program = programs.rms_norm(dtype, rows, n)
            yield f"rms_norm {dtype} ({rows}, {n})", program, inputs[:2]


def loss_runs(dtype: str) -> Iterator[Run]:
    # Five rows: a group of four and one alone, in which one target is ignored; 19: whole registers
    # of short rows, and one that is not full.
    for rows in (1, 5, 19):
        target = np.arange(rows, dtype=np.int64)
        for n in (n for n in lengths(dtype) if n > 0):
            inputs = [numbers((rows, n), dtype), np.where(target % 3 == 2, -100, target * 7 % n)]
            for weighted in (False, True):
                rest = [numbers((n,), dtype)] * weighted
                name = f"{dtype} ({rows}, {n}) weighted={weighted}"
                for smoothing in (0.0, 0.25):
                    for slopes in (False, True):
                        program = programs.class_loss(
                            dtype, rows, n, weighted=weighted, smoothing=smoothing, slopes=slopes
                        )
                        kind = f"cross_entropy {name} smoothing={smoothing} slopes={slopes}"
                        yield kind, program, [*inputs, *rest]
                program = programs.class_loss(
                    dtype, rows, n, weighted=weighted, log_probabilities=True
                )
                yield f"nll {name}", program, [*inputs, *rest]


def move_runs(dtype: str) -> Iterator[Run]:
    for n in lengths(dtype):
        yield f"dropout {dtype} n={n}", programs.dropout(dtype, n, 0.5), [numbers((n,), dtype)]
        for name in ("uniform", "normal"):
            yield f"draw {name} {dtype} n={n}", programs.draw(dtype, n, name), []
        yield f"fill {dtype} n={n}", programs.fill(dtype, n, 1.5), []
        for rows in (1, 2, 5):
            if n == 0:
                continue
            x = numbers((rows * n,), dtype)
            for shape, strides in (
                ((rows, n), (n, 1)),
                ((n, rows), (1, n)),
                ((rows, n), (-n, -1)),
                ((rows, n), (n, -1)),
                ((3, rows, n), (0, n, 1)),
            ):
                program = programs.copy(dtype, shape, strides, rows * n)
                yield f"copy {dtype} {shape} by {strides}", program, [x]


def entry_runs(dtype: str) -> Iterator[Run]:
    """Entries picked, put, carried along and put in order."""

    def entries(shape: tuple[int, ...]) -> np.ndarray:
        return (np.arange(np.prod(shape)) * 7 % 61).astype(dtype).reshape(shape)

    sums = () if dtype == "bool" else ("sum", "prod")
    carried = sums if dtype in (*FLOATS, "int64") else ()
    for n in (1, 2, 3, 7, 8, 9, 16, 17, 33, 40):
        for rows in (1, 5):
            shape, at = (2, rows, n), np.array([rows - 1, 0, rows - 1, rows // 2], np.int64)
            x, source = entries(shape), entries((2, 4, n))
            for lists in ((1, 1), (2, 1), (2, n)):
                name = f"{dtype} {shape} {lists}"
                index = np.tile(at[:, None], (lists[0], 1, lists[1]))
                program = programs.gather(dtype, shape, 4, lists)
                yield f"gather {name}", program, [x, index]
                program = programs.scatter("replace", dtype, shape, 4, lists, zeros=True)
                yield f"scatter of zeros {name}", program, [index, source]
                for kind in ("replace", "amax", "amin", *sums):
                    program = programs.scatter(kind, dtype, shape, 4, lists, include_self=False)
                    yield f"scatter {kind} {name}", program, [x, index, source]
            for kind in ("max", "min", *carried):
                program = programs.scan(kind, dtype, 2, rows, n)
                yield f"cum{kind} {dtype} {shape}", program, [x]
            for kind in carried:
                program = programs.scan(kind, dtype, rows, n, 1, reverse=True)
                yield f"cum{kind} {dtype} ({rows}, {n}) reverse", program, [entries((rows, n, 1))]
            for wanted in {1, n // 2, n}:
                program = programs.sort(dtype, rows, n, wanted)
                name = f"sort {wanted} of {dtype} ({rows}, {n})"
                yield name, program, [entries((rows, n))]
            inputs = [np.sort(entries((rows, n))), entries((rows, 3))]
            name = f"search {dtype} ({rows}, {n})"
            yield name, programs.search(dtype, rows, n, 3), inputs


def matmul_runs(dtype: str) -> Iterator[Run]:
    sizes_m, sizes_n, sizes_k = (1, 2, 5, 6, 7, 13), (*range(1, 20), 31, 32, 33), (1, 2, 7, 8, 17)
    for m in sizes_m:
        for n in sizes_n:
            for k in sizes_k:
                a, b = numbers((m, k), dtype), numbers((k, n), dtype)
                for ta, tb in ((False, False), (True, False), (False, True), (True, True)):
                    program = programs.matmul(dtype, m, n, k, transpose_a=ta, transpose_b=tb)
                    inputs = [np.ascontiguousarray(a.T) if ta else a]
                    inputs.append(np.ascontiguousarray(b.T) if tb else b)
                    yield f"matmul {dtype} {m}x{n}x{k} {ta} {tb}", program, inputs
                program = programs.matmul(
                    dtype,
                    m,
                    n,
                    k,
                    constant=b,
                    bias=True,
                    residual=True,
                    activation=("gelu", ()),
                )
                inputs = [a, numbers((n,), dtype), numbers((m, n), dtype)]
                yield f"dense {dtype} {m}x{n}x{k}", program, inputs
    for k in (255, 256, 257, 300):
        program = programs.matmul(dtype, 3, 17, k)
        yield f"matmul {dtype} 3x17x{k}", program, [numbers((3, k), dtype), numbers((k, 17), dtype)]
    # A far b: 8 MB of floats row by row, 1 MB column by column.
    for m, n, k, t in ((1, 1040, 2060, False), (5, 16400, 129, False), (4, 333, 1010, True)):
        inputs = [numbers((m, k), dtype), numbers((n, k) if t else (k, n), dtype)]
        program = programs.matmul(dtype, m, n, k, transpose_b=t)
        yield f"matmul {dtype} {m}x{n}x{k} {t}", program, inputs


def update_runs(dtype: str) -> Iterator[Run]:
    for name, states in programs.UPDATES.items():
        for n in lengths(dtype):
            program = programs.update(name, dtype, n)
            x = [numbers((n,), dtype) for _ in range(states + 2)]
            yield f"{name} {dtype} n={n}", program, [*x, numbers((9,), "float64")]


def cast_runs(dtype: str) -> Iterator[Run]:
    """To every other type that there is a cast to."""
    others = [other for other in DType if other.name != dtype]
    if DType(dtype).is_storage:
        others = [other for other in others if other.is_floating]
    elif not DType(dtype).is_floating:
        others = [other for other in others if not other.is_storage]
    for other in others:
        for n in (*range(10), 15, 16, 17, 31, 32, 33, 63, 64, 65):
            x = (np.arange(n) % 5).astype(DType(dtype).numpy)
            yield f"cast {dtype} {other} n={n}", programs.cast(dtype, other.name, (n,)), [x]


def integer_runs(dtype: str) -> Iterator[Run]:
    """Arithmetic, bits, comparison and selection of integers or truth values, and reductions."""
    truth = dtype == "bool"
    names = _core.integer_names()
    binary = _core.logical_names()[1:] if truth else names["binary"]
    tables = [(name, dtype) for name in binary] + [(name, "bool") for name in names["compare"]]
    for n in (*range(10), 15, 16, 17, 31, 32, 33, 63, 64, 65):
        x, ones = (np.arange(n) % 5).astype(dtype), np.ones(1, dtype)
        for name, result in tables:
            for a, b in ((x, x[::-1].copy()), (x, ones), (ones, x)):
                program = programs.binary(name, dtype, a.shape, b.shape, result)
                yield f"{name} {dtype} {a.shape} {b.shape}", program, [a, b]
        for name in ["logical_not"] if truth else names["unary"]:
            yield f"{name} {dtype} n={n}", programs.unary(name, dtype, (n,)), [x]
        yield f"select {dtype} n={n}", programs.select(dtype, (n,)), [np.arange(n) % 3 == 1, x, x]
        if n == 0:
            continue
        for kind in ("sum", "prod", "max", "min", "any", "all", "argmax", "argmin"):
            for outer, size, inner in ((3, n, 1), (2, 3, n)):
                if inner > 1 and kind.startswith("arg"):
                    continue
                table = (np.arange(outer * size * inner) % 7).astype(dtype)
                program = programs.reduce(kind, dtype, outer, size, inner)
                yield (
                    f"{kind} {dtype} {(outer, size, inner)}",
                    program,
                    [table.reshape(outer, size, inner)],
                )


def bytes_of(shape: tuple[int, ...], kind: str) -> np.ndarray:
    return (np.arange(int(np.prod(shape))) * 7 % 256).astype(np.uint8).view(kind).reshape(shape)


def bytes_runs(dtype: str) -> Iterator[Run]:
    """Products of bytes once, beside float32; quantisation of both."""
    for kind in ("uint8", "int8"):
        for n, columns in itertools.product((*lengths(dtype), 67), (False, True)):
            x, scale = numbers((2, n), dtype), numbers((n,) if columns else (), dtype)
            q, zero = bytes_of((2, n), kind), bytes_of(scale.shape, kind)
            name = f"{kind} {dtype} n={n} {columns}"
            yield f"quantize {name}", byte_programs.quantize(dtype, kind, (2, n), columns), [
                x, scale, zero]  # fmt: skip
            yield f"dequantize {name}", byte_programs.dequantize(dtype, kind, (2, n), columns), [
                q, scale, zero]  # fmt: skip
    if dtype == "float64":
        return
    for n in (*lengths(dtype), 67, 1000):
        yield f"dynamic n={n}", byte_programs.dynamic_quantize(n), [numbers((n,), dtype)]
    pairs = list(itertools.product(("uint8", "int8"), repeat=2))
    sizes_n, sizes_k = (1, 2, 7, 8, 15, 16, 17, 31, 33, 49, 65), (1, 2, 3, 4, 5, 31, 64, 67)
    for number, (m, n, k) in enumerate(itertools.product((1, 3, 6, 7, 13), sizes_n, sizes_k)):
        kinds = pairs[number % 4]
        turned = (number % 3 == 1, number % 5 < 2)
        w = bytes_of((n, k) if turned[1] else (k, n), kinds[1])
        inputs = [bytes_of((k, m) if turned[0] else (m, k), kinds[0])]
        zeros, epilogue, constant = number % 2 == 0, number % 7 < 3, number % 11 < 5
        program = byte_programs.integer_product(
            kinds, m, n, k, transpose=turned, zeros=zeros, epilogue=epilogue,
            constant=w if constant else None,
        )  # fmt: skip
        inputs += [] if constant else [w]
        inputs += [bytes_of((m,), kinds[0]), bytes_of((n,), kinds[1])] if zeros else []
        inputs += [numbers((n,), dtype), numbers((n,), dtype)] if epilogue else []
        yield f"bytes {kinds} {m}x{n}x{k} {turned}", program, inputs


FLOATS = ("float32", "float64")
EVERY = (*FLOATS, "int64", "int32", "uint8", "int8", "bool")
# What runs, and on which types.
FAMILIES = {
    "unary": (unary_runs, FLOATS),
    "binary": (binary_runs, FLOATS),
    "cast": (cast_runs, tuple(dtype.name for dtype in DType)),
    "chain": (chain_runs, FLOATS),
    "integer": (integer_runs, ("int64", "int32", "uint8", "int8", "bool")),
    "reduce": (reduce_runs, FLOATS),
    "rows": (rows_runs, FLOATS),
    "loss": (loss_runs, FLOATS),
    "move": (move_runs, FLOATS),
    "entries": (entry_runs, EVERY),
    "matmul": (matmul_runs, FLOATS),
    "update": (update_runs, FLOATS),
    "bytes": (bytes_runs, FLOATS),
}


def check(run: Run, rooms: Rooms) -> None:
    """One program on guarded arrays, against itself on ordinary arrays."""
    _, program, inputs = run
    _core.seed(1)
    wanted = program.run(inputs)
    for end in ENDS:
        arrays = rooms.place([*inputs, *map(np.zeros_like, wanted)], end)
        placed, outs = arrays[: len(inputs)], arrays[len(inputs) :]
        _core.seed(1)
        program.run(placed, outs)
        rooms.check()
        for out, want in zip(outs, wanted, strict=True):
            same_values(out, want)
        for before, after in zip(inputs, placed, strict=True):
            same_values(after, before)


def main(isa: str, *families: str) -> None:
    _core.select_isa(isa)
    rooms = {capacity: Rooms(capacity) for capacity in (4096, 1 << 17, 1 << 25)}
    count = 0
    pairs = [(name, dtype) for name in families or FAMILIES for dtype in FAMILIES[name][1]]
    for family, dtype in pairs:
        for run in FAMILIES[family][0](dtype):
            print(f"{family}: {run[0]}", flush=True)
            needed = max((x.nbytes for x in run[2]), default=0)
            check(run, rooms[min(capacity for capacity in rooms if capacity >= needed)])
            count += 1
    print(f"done: {count} programs", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
