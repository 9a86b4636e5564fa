# SPDX-License-Identifier: Apache-2.0
"""The elementwise step: chains over every stride pattern against NumPy, bit for bit.

The chains are made of +, -, *, comparisons and casts, which NumPy rounds in the same way, so that
any difference is one of addressing. Kernels have their own tests.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import programs
from cases.elementwise import COMPARE
from lamella import _core

# One side of every decision: short and long inner runs, blocks begun and filled, periods that
# divide a block and that exceed one, enough work for a second thread.
SHAPES = [
    (),
    (1,),
    (7,),
    (1000,),
    (5000,),
    (3, 1),
    (1, 4, 1),
    (257, 3),
    (3, 257),
    (40, 128),
    (2, 700),
    (6, 5, 4),
    (2, 3, 500),
    (5, 7, 3, 2),
    (33, 65, 3),
    (0,),
    (4, 0, 3),
    (300, 401),
]

PATTERNS = ["dense", "scalar", "inner", "outer", "middle", "transposed", "reversed", "gapped"]


def strides_for(pattern: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of an operand that covers `shape` in the manner of `pattern`."""
    dense, rank = programs.strides_of(shape), len(shape)
    if pattern == "scalar":
        return (0,) * rank
    if pattern == "inner":
        return tuple(step if d == rank - 1 else 0 for d, step in enumerate(dense))
    if pattern == "outer":
        return tuple(1 if d == 0 else 0 for d in range(rank))
    if pattern == "middle":
        return tuple(1 if d == rank // 2 else 0 for d in range(rank))
    if pattern == "transposed":
        return tuple(reversed(programs.strides_of(tuple(reversed(shape)))))
    if pattern == "reversed":
        return tuple(-step for step in dense)
    if pattern == "gapped":
        return tuple(3 * step for step in dense)
    return dense


def operand(
    rng: np.random.Generator, shape: Sequence[int], strides: Sequence[int], dtype: str
) -> tuple[np.ndarray, int, np.ndarray]:
    """A flat array, the position of the first element in it, and the strided view of it."""
    reach = [(n - 1) * step for n, step in zip(shape, strides, strict=True) if n > 0]
    below = -sum(r for r in reach if r < 0)
    flat = rng.integers(-50, 50, below + sum(r for r in reach if r > 0) + 1).astype(dtype)
    steps = tuple(step * flat.itemsize for step in strides)
    return flat, below, as_strided(flat[below:], tuple(shape), steps)


class Chain:
    """Builds one elementwise step over strided operands and runs it."""

    def __init__(self, rng: np.random.Generator, shape: Sequence[int]) -> None:
        self.rng, self.shape = rng, tuple(shape)
        self.flats: list[np.ndarray] = []
        self.views: list[np.ndarray] = []
        self.operands: list[tuple[int, tuple[int, ...], str]] = []

    def add(self, pattern: str, dtype: str = "float32") -> np.ndarray:
        strides = strides_for(pattern, self.shape)
        flat, first, view = operand(self.rng, self.shape, strides, dtype)
        self.flats.append(flat)
        self.operands.append((first * flat.itemsize, strides, dtype))
        self.views.append(view)
        return view

    def run(self, code: Sequence[programs.Instruction]) -> np.ndarray:
        result = code[-1][1]
        builder = _core.ProgramBuilder(
            inputs=[(flat.dtype.name, flat.shape) for flat in self.flats],
            outputs=[(result, self.shape)],
        )
        spec = _core.ElementwiseSpec(
            shape=self.shape,
            dtypes=[dtype for _, _, dtype in self.operands],
            strides=[strides for _, strides, _ in self.operands],
            code=list(code),
        )
        x = [builder.input(i).shifted(first) for i, (first, _, _) in enumerate(self.operands)]
        builder.add(spec, x=x, y=builder.output(0))
        (y,) = builder.build().run(self.flats)
        return np.asarray(y)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_stride_patterns(
    isa: str, threads: int, rng: np.random.Generator, shape: tuple[int, ...]
) -> None:
    code = [
        ("mul", "float32", (0, 1), ()),
        ("sub", "float32", (2, 1), ()),
        ("square", "float32", (3,), ()),
        ("add", "float32", (4, 0), ()),
    ]
    for a, b in itertools.product(PATTERNS, repeat=2):
        chain = Chain(rng, shape)
        x, w = chain.add(a), chain.add(b)
        expected = np.square(x * w - w) + x
        np.testing.assert_array_equal(chain.run(code), expected, err_msg=f"{a}, {b}")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_one_instruction(rng: np.random.Generator, pattern: str) -> None:
    for length in [*range(1, 70), 127, 1023, 1024, 1025, 4097]:
        chain = Chain(rng, (length,))
        x, w = chain.add(pattern), chain.add("dense")
        np.testing.assert_array_equal(chain.run([("sub", "float32", (0, 1), ())]), x - w)
        np.testing.assert_array_equal(chain.run([("neg", "float32", (0,), ())]), -x)


def test_random_shapes(isa: str, rng: np.random.Generator) -> None:
    for _ in range(300):
        shape = tuple(int(n) for n in rng.integers(1, 12, rng.integers(1, 6)))
        chain = Chain(rng, shape)
        operands = [chain.add(PATTERNS[int(i)]) for i in rng.integers(0, len(PATTERNS), 3)]
        code = [
            ("add", "float32", (0, 1), ()),
            ("mul", "float32", (3, 2), ()),
            ("sub", "float32", (4, 3), ()),
        ]
        total = operands[0] + operands[1]
        np.testing.assert_array_equal(chain.run(code), total * operands[2] - total)


@pytest.mark.parametrize("shape", [(5,), (1500,), (70, 3), (3, 200)], ids=str)
def test_mixed_types(isa: str, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    chain = Chain(rng, shape)
    x, n = chain.add("transposed"), chain.add("dense", "int64")
    d, flag = chain.add("inner", "float64"), chain.add("outer", "bool")
    code = [
        ("cast", "float64", (0,), ()),  # 4
        ("cast", "float64", (1,), ()),  # 5
        ("mul", "float64", (4, 5), ()),  # 6
        ("gt", "bool", (6, 2), ()),  # 7
        ("logical_and", "bool", (7, 3), ()),  # 8
        ("logical_not", "bool", (8,), ()),  # 9
        ("select", "float64", (9, 2, 6), ()),  # 10
        ("cast", "float32", (10,), ()),  # 11
        ("select", "bool", (3, 7, 9), ()),  # 12
        ("cast", "float32", (12,), ()),  # 13
        ("add", "float32", (11, 13), ()),
    ]
    product = x.astype(np.float64) * n
    keep = ~((product > d) & flag)
    chosen = np.where(keep, d, product).astype(np.float32)
    np.testing.assert_array_equal(chain.run(code), chosen + np.where(flag, product > d, keep))


@pytest.mark.parametrize("shape", [(), (3,), (2000,), (3, 300)], ids=str)
def test_nothing_but_repeated_values(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    chain = Chain(rng, shape)
    x, w = chain.add("scalar"), chain.add("scalar")
    np.testing.assert_array_equal(chain.run([("neg", "float32", (0,), ())]), -x)
    code = [("neg", "float32", (0,), ()), ("mul", "float32", (2, 1), ())]
    np.testing.assert_array_equal(chain.run(code), -x * w)
    code = [("square", "float32", (0,), ()), ("cast", "float64", (2,), ())]
    np.testing.assert_array_equal(chain.run(code), np.square(x).astype(np.float64))


def test_parameters_and_position(isa: str, rng: np.random.Generator) -> None:
    """Any element has the bits it has alone, wherever blocks and shares begin."""
    x = rng.normal(size=5000).astype(np.float32)
    code = [
        ("leaky_relu", "float32", (0,), (0.25,)),
        ("hardtanh", "float32", (1,), (-0.125, 1.5)),
        ("tanh", "float32", (2,), ()),
        ("mul", "float32", (3, 0), ()),
    ]
    (whole,) = programs.chain([("float32", x.shape)], code, "float32").run([x])
    clipped = np.clip(np.where(x > 0, x, np.float32(0.25) * x), -0.125, 1.5)
    np.testing.assert_allclose(whole, np.tanh(clipped) * x, rtol=1e-6)
    for first, last in [(0, 1), (1, 2), (17, 18), (1023, 1025), (777, 4999), (4999, 5000)]:
        part = x[first:last].copy()
        (y,) = programs.chain([("float32", part.shape)], code, "float32").run([part])
        assert y.tobytes() == whole[first:last].tobytes()


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", COMPARE)
def test_comparison_and_choice(
    isa: str, rng: np.random.Generator, name: str, dtype: str, shared: bool
) -> None:
    """One pass, or two where the truth value is wanted twice; any operand may be one number."""
    code = [(name, "bool", (0, 1), ()), ("select", dtype, (4, 2, 3), ())]
    if shared:
        code.append(("select", dtype, (4, 5, 0), ()))
    for n in (1, 5, 16, 31, 700, 1500):
        for numbers in itertools.product((False, True), repeat=4):
            shapes = [() if one else (n,) for one in numbers]
            if all(numbers):
                continue
            x = [np.asarray(np.round(rng.normal(size=shape)), dtype) for shape in shapes]
            for array in x[:2]:
                array[rng.random(array.shape) < 0.1] = np.nan
            truth = COMPARE[name](x[0], x[1])
            want = np.where(truth, x[2], x[3])
            want = np.where(truth, want, x[0]) if shared else want
            program = programs.chain([(dtype, shape) for shape in shapes], code, dtype)
            np.testing.assert_array_equal(program.run(x)[0], np.broadcast_to(want, (n,)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_product_with_the_rest_of_a_square(isa: str, rng: np.random.Generator, dtype: str) -> None:
    """a (b - c c), the slope of tanh, from either side; and where a part of it is read twice."""
    square, rest = ("square", dtype, (2,), ()), ("sub", dtype, (1, 3), ())
    for n in (1, 5, 16, 31, 700, 1500):
        for numbers in itertools.product((False, True), repeat=3):
            shapes = [() if one else (n,) for one in numbers]
            if all(numbers):
                continue
            x = [np.asarray(rng.normal(size=shape), dtype) for shape in shapes]
            want = x[0] * (x[1] - x[2] * x[2])
            chains = {
                "left": ([square, rest, ("mul", dtype, (4, 0), ())], want),
                "right": ([square, rest, ("mul", dtype, (0, 4), ())], want),
                "square twice": (
                    [square, rest, ("mul", dtype, (0, 4), ()), ("add", dtype, (5, 3), ())],
                    want + x[2] * x[2],
                ),
                "by itself": (
                    [square, rest, ("mul", dtype, (4, 4), ())],
                    (x[1] - x[2] * x[2]) ** 2,
                ),
            }
            for name, (code, expected) in chains.items():
                program = programs.chain([(dtype, shape) for shape in shapes], code, dtype)
                got, expected = program.run(x)[0], np.broadcast_to(expected, (n,))
                np.testing.assert_array_equal(got, expected, err_msg=name)


@pytest.mark.parametrize("shape", [(64,), (5000,), (300, 401)], ids=str)
@pytest.mark.parametrize("length", [1, 3])
def test_in_place(
    threads: int, rng: np.random.Generator, shape: tuple[int, ...], length: int
) -> None:
    x = rng.normal(size=shape).astype(np.float32)
    builder = _core.ProgramBuilder(inputs=[("float32", shape)], outputs=[("float32", shape)])
    dense, cell = programs.strides_of(shape), builder.range(x.nbytes)

    def step(source: _core.Slot, target: _core.Slot, count: int) -> None:
        code = [("add", "float32", (i, 0), ()) for i in range(count)]
        spec = _core.ElementwiseSpec(shape=shape, dtypes=["float32"], strides=[dense], code=code)
        builder.add(spec, x=[source], y=target)

    step(builder.input(0), cell, 1)
    step(cell, cell, length)
    step(cell, builder.output(0), 1)
    (y,) = builder.build().run([x])
    np.testing.assert_array_equal(y, x * np.float32(4 * (length + 1)))


def test_as_many_registers_as_promised(rng: np.random.Generator) -> None:
    limit = _core.ProgramBuilder.elementwise_registers
    for operands in range(1, limit):
        chain = Chain(rng, (9, 7))
        views = [chain.add("transposed") for _ in range(operands)]
        count = limit - operands
        code = [("neg", "float32", (i % operands,), ()) for i in range(count - 1)]
        last = operands + count - 2 if count > 1 else 0
        y = chain.run([*code, ("add", "float32", (last, 0), ())])
        expected = (-views[(count - 2) % operands] if count > 1 else views[0]) + views[0]
        np.testing.assert_array_equal(y, expected)


def test_many_values_alive() -> None:
    """All results of the first half are alive when the second half begins."""

    def build(width: int) -> _core.Program:
        code: list[programs.Instruction] = [("neg", "float32", (0,), ()) for _ in range(width)]
        code.append(("add", "float32", (1, 2), ()))
        for i in range(3, width + 1):
            code.append(("add", "float32", (len(code), i), ()))
        return programs.chain([("float32", (3000,))], code, "float32")

    x = np.arange(3000, dtype=np.float32)
    for width in (2, 6, 7, 20, 31):
        np.testing.assert_array_equal(build(width).run([x])[0], -width * x)
    with pytest.raises(ValueError, match="alive at once"):
        build(40)


@pytest.mark.parametrize(
    ("instruction", "text"),
    [
        (("exp2", "float32", (0,), ()), "no kernel 'exp2'"),
        (("add", "float32", (0,), ()), "no kernel 'add'"),
        (("add", "float64", (0, 0), ()), "no kernel 'add'"),
        (("add", "int64", (0, 0), ()), "no kernel 'add'"),
        (("relu", "float32", (0, 0), ()), "no kernel 'relu'"),
        (("lt", "float32", (0, 0), ()), "no kernel 'lt'"),
        (("cast", "float32", (0,), ()), "no kernel 'cast'"),
        (("cast", "int64", (0, 0), ()), "no kernel 'cast'"),
        (("select", "float16", (0, 0, 0), ()), "no kernel 'select'"),
        (("select", "float32", (0, 0, 0), ()), "no kernel 'select'"),
        (("logical_not", "bool", (0,), ()), "no kernel 'logical_not'"),
        (("leaky_relu", "float32", (0,), ()), "takes 1 parameters; got 0"),
        (("relu", "float32", (0,), (1.0,)), "takes 0 parameters; got 1"),
        (("relu", "float32", (1,), ()), "not yet written"),
        (("relu", "float32", (), ()), "needs 1 to 4 arguments; got 0"),
        (("relu", "float16", (0,), ()), "float16"),
        (("relu", "complex64", (0,), ()), "complex64"),
    ],
)
def test_refused_instructions(instruction: programs.Instruction, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        programs.chain([("float32", (4,))], [instruction], instruction[1])


def test_refused_arrays() -> None:
    builder = _core.ProgramBuilder(inputs=[("float32", (8,))], outputs=[("float32", (8,))])
    code, x, y = [("relu", "float32", (0,), ())], builder.input(0), builder.output(0)

    def add(
        slot: _core.Slot, shape: tuple[int, ...], strides: tuple[int, ...], to: _core.Slot
    ) -> None:
        spec = _core.ElementwiseSpec(shape=shape, dtypes=["float32"], strides=[strides], code=code)
        builder.add(spec, x=[slot], y=to)

    cell = builder.range(64)
    for slot, shape, strides, to in [
        (x, (9,), (1,), y),  # more than there is
        (x, (2,), (8,), y),
        (x, (2,), (-1,), y),  # before the beginning
        (x.shifted(4), (8,), (1,), y),
        (x, (8,), (1,), y.shifted(4)),
        (x, (8,), (1,), x),  # an input is not written
        (x, (8,), (1, 1), y),  # a stride too many
        (x.shifted(2), (2,), (1,), y),  # misaligned
        (cell, (8,), (1,), cell.shifted(4)),  # overlapping, not the same
        (cell, (2, 2), (1, 2), cell),  # the same, not contiguous
    ]:
        with pytest.raises(ValueError):
            add(slot, shape, strides, to)
    with pytest.raises((ValueError, OverflowError)):
        add(x, (2**62, 2**62), (0, 0), y)
    for dtypes, strides, code, text in [
        (["float32"], [(1,)], [], "no instruction"),
        ([], [(1,)], [("relu", "float32", (0,), ())], "1 operands; got 0 types"),
        (["float32"], [], [("relu", "float32", (0,), ())], "and 0 lists of strides"),
    ]:
        spec = _core.ElementwiseSpec(shape=(8,), dtypes=dtypes, strides=strides, code=code)
        with pytest.raises(ValueError, match=text):
            builder.add(spec, x=[x], y=y)
