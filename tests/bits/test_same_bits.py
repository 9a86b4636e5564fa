# SPDX-License-Identifier: Apache-2.0
"""Same bits: batch, position, threads, alignment, strides, repetition and FMA instruction sets.

Results are compared by SHA-256. The nets of nets.py cover every family of ops; the kernels are
also taken one by one, because a net may hide a difference behind a rounding.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import programs
from bits.nets import NETS, WIDTH, digest, values
from cases import elementwise
from lamella import _core
from lamella import functional as F

DTYPES = ("float32", "float64")
BATCHES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 33, 64, 200)
# Enough rows for every net to be shared among threads.
MANY = 6000

pytestmark = pytest.mark.parametrize("dtype", DTYPES)


@pytest.fixture(params=NETS)
def net(request, dtype, isa):
    return NETS[request.param](dtype)


def test_batch(net, dtype):
    x = values((max(BATCHES), WIDTH), dtype)
    alone = np.concatenate([net(row[None]) for row in x])
    for batch in BATCHES:
        assert digest(net(x[:batch])) == digest(alone[:batch]), batch
        assert digest(net(x[-batch:])) == digest(alone[-batch:]), -batch


def test_position(net, dtype):
    x = values((97, WIDTH), dtype)
    order = np.random.default_rng(54).permutation(97)
    assert digest(net(x)[order]) == digest(net(x[order]))
    same = np.repeat(x[:1], 50, axis=0)
    assert len({digest(row) for row in net(same)}) == 1


def test_threads(net, dtype):
    x = values((MANY, WIDTH), dtype)
    before = _core.num_threads()
    try:
        found = {}
        for count in (1, 2, 3, 7):
            _core.set_num_threads(count)
            found[count] = digest(net(x))
    finally:
        _core.set_num_threads(before)
    assert len(set(found.values())) == 1, found
    assert digest(net(x[:7])) == digest(net(x)[:7])


def test_alignment(net, dtype):
    x = values((9, WIDTH), dtype)
    want = digest(net(x))
    memory = np.zeros(x.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64
    for offset in range(64):
        place = memory[start + offset : start + offset + x.nbytes].view(dtype).reshape(x.shape)
        place[...] = x
        assert digest(net(place)) == want, offset


def test_strides(net, dtype):
    x = values((12, WIDTH), dtype)
    want = digest(net(x))
    wide = np.zeros((24, 2 * WIDTH), dtype)
    wide[::2, ::2] = x
    backwards = np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]
    frozen = x.copy()
    frozen.flags.writeable = False
    swapped = x.astype(x.dtype.newbyteorder())
    forms = [wide[::2, ::2], backwards, np.asfortranarray(x), frozen, swapped, x.view(np.memmap)]
    assert [digest(net(form)) for form in forms] == [want] * len(forms)
    broadcast = np.broadcast_to(x[3], (12, WIDTH))
    assert digest(net(broadcast)) == digest(net(np.ascontiguousarray(broadcast)))


def test_repetition(net, dtype):
    x = values((65, WIDTH), dtype)
    assert len({digest(net(x)) for _ in range(20)}) == 1


def test_out_does_not_matter(net, dtype):
    if not hasattr(net, "state_dict"):
        pytest.skip("composed of several calls")
    x = values((21, WIDTH), dtype)
    want = net(x).copy()
    out = np.full_like(want, np.nan)
    assert net(x, out=out) is out
    assert digest(out) == digest(want)


@pytest.mark.parametrize("name", NETS)
def test_instruction_sets_with_fma(name, dtype):
    fused = [isa for isa in _core.isas() if isa != "baseline"]
    if len(fused) < 2:
        pytest.skip(f"one instruction set with fused multiply-add here: {fused}")
    x, before, found = values((33, WIDTH), dtype), _core.isa(), {}
    try:
        for isa in fused:
            _core.select_isa(isa)
            found[isa] = digest(NETS[name](dtype)(x))
    finally:
        _core.select_isa(before)
    assert len(set(found.values())) == 1, found


CHILD = """
import sys
sys.path.append({tests!r})
from bits.nets import NETS, WIDTH, digest, values
for name in NETS:
    print(name, digest(NETS[name]({dtype!r})(values((3000, WIDTH), {dtype!r}))))
"""


def test_processes_and_environment(dtype):
    found = set()
    code = CHILD.format(tests=str(Path(__file__).parents[1]), dtype=dtype)
    settings = ({"OMP_NUM_THREADS": "1"}, {"LAMELLA_NUM_THREADS": "3", "OMP_NUM_THREADS": "3"})
    for setting in settings:
        environment = {**os.environ, **setting, "LAMELLA_ISA": _core.isas()[-1]}
        result = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        found.add(result.stdout)
    assert len(found) == 1
    assert len(found.pop().splitlines()) == len(NETS)


@pytest.mark.parametrize("name", sorted(elementwise.UNARY))
def test_unary_kernels_do_not_know_where_an_element_is(name, dtype, isa):
    case = elementwise.UNARY[name]
    x, _ = elementwise.unary_truth(name, dtype, case.params[0])
    want = programs.unary(name, dtype, x.shape, case.params[0]).run([x])[0].copy()
    pieces = {n: programs.unary(name, dtype, (n,), case.params[0]) for n in range(1, 36)}
    begin, rng = 0, np.random.default_rng(55)
    while begin < len(x):
        n = int(min(rng.integers(1, 36), len(x) - begin))
        memory = np.zeros(n + 16, x.dtype)[int(rng.integers(0, 16)) :][:n]
        memory[...] = x[begin : begin + n]
        assert digest(pieces[n].run([memory])[0]) == digest(want[begin : begin + n])
        begin += n


@pytest.mark.parametrize("name", [*elementwise.BINARY_EXACT, "pow", *elementwise.CHOICES])
def test_binary_kernels_do_not_know_where_an_element_is(name, dtype, isa):
    a, b, _ = elementwise.pow_truth(dtype)
    want = programs.binary(name, dtype, a.shape, b.shape).run([a, b])[0].copy()
    for n in (1, 3, 4, 5, 7, 8, 9, 13):
        program = programs.binary(name, dtype, (n,), (n,))
        for begin in range(0, len(a) - n, n):
            part = slice(begin, begin + n)
            assert digest(program.run([a[part].copy(), b[part].copy()])[0]) == digest(want[part])


@pytest.mark.parametrize("n", [1, 3, 15, 16, 17, 40, 100])
def test_products_do_not_know_their_rows(n, dtype, isa):
    k = 300
    a, b = values((64, k), dtype, 56), values((k, n), dtype, 57)
    for constant in (None, b):
        rest = [b] if constant is None else []
        full = programs.matmul(dtype, 64, n, k, constant=constant)
        want = full.run([a, *rest])[0].copy()
        for m in (1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 48):
            program = programs.matmul(dtype, m, n, k, constant=constant)
            for begin in (0, 5, 64 - m):
                part = slice(begin, begin + m)
                got = program.run([a[part].copy(), *rest])[0]
                assert digest(got) == digest(want[part]), (m, begin)


def test_few_rows_of_a_far_matrix_agree_with_many(dtype, isa):
    n, k = 1040, 2060  # more than 8 MB
    a, b = values((32, k), dtype, 60), values((k, n), dtype, 61)
    want = programs.matmul(dtype, 32, n, k, constant=b).run([a])[0].copy()
    columns = np.ascontiguousarray(b.T)
    for m in (1, 2, 3, 8, 9, 17, 24, 25):
        got = programs.matmul(dtype, m, n, k).run([a[:m].copy(), b])[0]
        assert digest(got) == digest(want[:m]), m
        transposed = programs.matmul(dtype, m, n, k, transpose_b=True)
        assert digest(transposed.run([a[:m].copy(), columns])[0]) == digest(want[:m]), m
        both = programs.matmul(dtype, m, n, k, transpose_a=True, transpose_b=True)
        assert digest(both.run([a[:m].T.copy(), columns])[0]) == digest(want[:m]), m


@pytest.mark.parametrize("underflow", [False, True])
@pytest.mark.parametrize("k", [300, 5000])
@pytest.mark.parametrize("n", [1, 3, 16, 40])
def test_packed_transposed_and_plain_products_agree(n, k, underflow, dtype, isa):
    m = 37
    a, b = values((m, k), dtype, 58), values((k, n), dtype, 59)
    if underflow:  # to -0, whose sign one more +0 would change
        tiny = np.finfo(dtype).tiny
        a, b = tiny * -np.abs(a), tiny * np.abs(b)
    want = digest(programs.matmul(dtype, m, n, k).run([a, b])[0])
    assert digest(programs.matmul(dtype, m, n, k, constant=b).run([a])[0]) == want
    stored = np.ascontiguousarray(b.T)
    assert digest(programs.matmul(dtype, m, n, k, transpose_b=True).run([a, stored])[0]) == want
    stored = np.ascontiguousarray(a.T)
    assert digest(programs.matmul(dtype, m, n, k, transpose_a=True).run([stored, b])[0]) == want


def _row_programs(dtype, rows, cols):
    return {
        "softmax": programs.softmax(dtype, rows, cols, log=False),
        "log_softmax": programs.softmax(dtype, rows, cols, log=True),
        "layer_norm": programs.layer_norm(dtype, rows, cols),
        "rms_norm": programs.rms_norm(dtype, rows, cols),
    }


@pytest.mark.parametrize("cols", [1, 10, 16, 35, 300, 1024, 2500])
def test_rows_do_not_know_their_neighbours(cols, dtype, isa, threads):
    """Among them rows that take other paths: far apart, infinite, overflowing, without a number."""
    x = values((23, cols), dtype, 64)
    x[3, ::2] -= 200
    x[5, cols // 2] = -np.inf
    x[9] *= np.finfo(dtype).max / 8
    x[14] = np.nan
    x[17] = -np.inf
    vectors = [values((cols,), dtype, 65), values((cols,), dtype, 66)]
    inputs = {"layer_norm": vectors, "rms_norm": vectors[:1]}
    alone = _row_programs(dtype, 1, cols)
    for name, program in _row_programs(dtype, 23, cols).items():
        rest = inputs.get(name, [])
        want = program.run([x, *rest])[0].copy()
        for row in range(23):
            got = alone[name].run([x[row : row + 1].copy(), *rest])[0]
            assert digest(got[0]) == digest(want[row]), (name, row)


@pytest.mark.parametrize("smoothing", [0.0, 0.25])
@pytest.mark.parametrize("cols", [1, 10, 16, 35, 300, 1024, 2500])
def test_losses_of_rows_do_not_know_their_neighbours(cols, smoothing, dtype, isa, threads):
    """Losses, weights and slopes; the losses also where nobody asks for slopes."""
    x = values((23, cols), dtype, 70)
    x[3, ::2] -= 200
    x[14] = np.nan
    target = np.random.default_rng(71).integers(0, cols, 23)
    target[5] = -100
    named = {"weighted": True, "smoothing": smoothing}
    weight = np.abs(values((cols,), dtype, 72))
    want = programs.class_loss(dtype, 23, cols, **named).run([x, target, weight])
    bare = programs.class_loss(dtype, 23, cols, **named, slopes=False).run([x, target, weight])
    assert digest(bare[0]) == digest(want[0])
    alone = programs.class_loss(dtype, 1, cols, **named)
    for row in range(23):
        part = slice(row, row + 1)
        got = alone.run([x[part].copy(), target[part].copy(), weight])
        for one, all_rows in zip(got, want, strict=True):
            assert digest(one[0]) == digest(all_rows[row]), row


@pytest.mark.parametrize("cols", [1, 10, 16, 35, 300, 1024, 2500, 9000])
def test_rows_on_instruction_sets_with_fma(cols, dtype):
    fused = [isa for isa in _core.isas() if isa != "baseline"]
    x, before, found = values((9, cols), dtype, 67), _core.isa(), {}
    x[4] *= 1e30
    vectors = [values((cols,), dtype, 68), values((cols,), dtype, 69)]
    try:
        for isa in fused:
            _core.select_isa(isa)
            made = _row_programs(dtype, 9, cols)
            smoothed, plain = (
                programs.class_loss(dtype, 9, cols, weighted=True, smoothing=smoothing)
                for smoothing in (0.25, 0.0)
            )
            given = [x, np.arange(9) % cols, np.abs(vectors[0])]
            found[isa] = [
                digest(made["softmax"].run([x])[0]),
                digest(made["log_softmax"].run([x])[0]),
                digest(made["layer_norm"].run([x, *vectors])[0]),
                digest(made["rms_norm"].run([x, vectors[0]])[0]),
                *map(digest, smoothed.run(given)),
                *map(digest, plain.run(given)),
                *(
                    digest(programs.reduce(kind, dtype, 9, cols, 1).run([x[..., None]])[0])
                    for kind in ("sum", "max", "min", "logsumexp", "var", "std", "norm", "argmax")
                ),
            ]
    finally:
        _core.select_isa(before)
    assert all(one == found[fused[0]] for one in found.values())


@pytest.mark.parametrize(
    "kind", ["sum", "mean", "prod", "max", "min", "logsumexp", "var", "std", "norm"]
)
def test_reductions_do_not_know_their_rows(kind, dtype, isa, threads):
    for size in (1, 7, 16, 35, 300):
        x = values((700, size, 1), dtype, 61)
        want = programs.reduce(kind, dtype, 700, size, 1).run([x])[0].copy()
        alone = programs.reduce(kind, dtype, 1, size, 1)
        for row in (0, 1, 2, 349, 699):
            assert digest(alone.run([x[row : row + 1].copy()])[0][0]) == digest(want[row])


@pytest.mark.parametrize("kind", ["sum", "mean", "prod", "max", "min"])
def test_column_reductions_do_not_know_their_columns(kind, dtype, isa, threads):
    for size in (1, 7, 40, 300):
        x = values((2, size, 200), dtype, 62)
        want = programs.reduce(kind, dtype, 2, size, 200).run([x])[0].copy()
        # A single column is summed as a row is: see lamella.ops.reduce.
        for first, count in ((0, 3), (5, 8), (13, 17), (198, 2), (64, 100)):
            part = np.ascontiguousarray(x[1:, :, first : first + count])
            got = programs.reduce(kind, dtype, 1, size, count).run([part])[0]
            assert digest(got[0]) == digest(want[1, first : first + count]), (size, first, count)


@pytest.mark.parametrize("kind", ["sum", "mean", "prod"])
def test_a_batch_of_one_column_is_a_column(kind, dtype, isa, threads):
    """Time-major data, (T, B): the sum over T of a sample is the same alone and in a batch."""
    for time in (5, 700):
        x = values((time, 3), dtype, 63)
        want = digest(getattr(F, kind)(x, 0)[1:2])
        assert digest(getattr(F, kind)(np.ascontiguousarray(x[:, 1:2]), 0)) == want
