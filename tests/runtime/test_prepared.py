# SPDX-License-Identifier: Apache-2.0
"""Packed weights: held once for all programs that read them, and never those of another moment."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from comparators import same_bits
from lamella import _core, nn
from lamella.functional import matmul
from lamella.runtime.session import compile_call
from runtime.forking import FORKS

SIZE = 2048
MEGABYTES = SIZE * SIZE * 4 >> 20


def resident() -> int:
    """Megabytes of memory that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def rows(count: int) -> np.ndarray:
    return np.linspace(-1, 1, count * SIZE, dtype=np.float32).reshape(count, SIZE)


def test_one_copy_for_all_batch_sizes_and_for_parts_of_a_net():
    net = nn.Sequential(nn.Linear(SIZE, SIZE, bias=False), nn.ReLU())
    inputs = [rows(count) for count in range(1, 9)]
    net(inputs[0])
    before = resident()
    for x in inputs:
        net(x)
        net[0](x)
    assert resident() - before < 2 * MEGABYTES


def test_memory_is_given_back_with_the_last_program():
    """Far more than any allocator keeps for later comes and goes."""
    inputs = [rows(1), rows(2)]
    before = resident()
    for _ in range(40):
        weight = nn.Parameter(np.ones((SIZE, SIZE)), dtype=np.float32)
        programs = [compile_call(lambda x, w=weight: matmul(x, w), [x]).program for x in inputs]
        assert programs[0].run(inputs[:1])[0].shape == (1, SIZE)
        del weight, programs
        gc.collect()
    assert resident() - before < 24 * MEGABYTES


def test_changes_reach_every_program(rng):
    net = nn.Linear(64, 48)
    inputs = [rng.normal(size=(count, 64)).astype(np.float32) for count in (1, 2, 7, 30)]
    for step in range(6):
        changed = rng.normal(size=(48, 64)).astype(np.float32)
        net.weight.data = changed
        fresh = nn.Linear(64, 48)
        fresh.load_state_dict(net.state_dict())
        # Another one comes first each time: it fills what the others then find.
        for x in inputs[step % 4 :] + inputs[: step % 4]:
            same_bits(net(x), fresh(x))


@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
def test_forms_of_one_array_stay_apart(rng, axes):
    """The same memory read as b and as its transpose, whole and in part."""
    weight = nn.Parameter(rng.normal(size=(32, 32)), dtype=np.float32)
    x = rng.normal(size=(5, 32)).astype(np.float32)

    def both(x):
        turned = matmul(x, weight.permute(*axes))
        return turned, matmul(x, weight), matmul(x[:, :20], weight[:20, :24])

    values = weight.array
    got = compile_call(both, [x]).program.run([x])
    same_bits(got[0], matmul(x, np.ascontiguousarray(values.transpose(axes))))
    same_bits(got[1], matmul(x, values))
    same_bits(got[2], matmul(x[:, :20].copy(), values[:20, :24].copy()))


def test_instruction_sets_stay_apart(rng):
    weight = nn.Parameter(rng.normal(size=(40, 40)), dtype=np.float32)
    x = rng.normal(size=(3, 40)).astype(np.float32)
    before, kept = _core.isa(), []
    try:
        for isa in _core.isas():
            _core.select_isa(isa)
            program = compile_call(lambda x: matmul(x, weight), [x]).program
            kept.append((program, matmul(x, weight.array).copy()))
    finally:
        _core.select_isa(before)
    for program, expected in kept:
        same_bits(program.run([x])[0], expected)


def test_a_run_keeps_what_another_program_fills_again():
    """While long runs of one program are under way, a second one meets every new state first."""
    net = nn.Linear(SIZE, 256, bias=False)
    many, one = np.ones((600, SIZE), np.float32), np.ones((1, SIZE), np.float32)
    states = [np.full((256, SIZE), value, np.float32) for value in (1.0, 2.0, 3.0)]
    net.weight.data = states[0]
    net(many)
    net(one)
    stop, seen, failed = threading.Event(), set(), []

    def work() -> None:
        try:
            while not stop.is_set():
                y = net(many)
                assert (y == y[0, 0]).all()
                seen.add(float(y[0, 0]) / SIZE)
        except BaseException as error:
            failed.append(error)

    team = [threading.Thread(target=work) for _ in range(2)]
    for member in team:
        member.start()
    for step in range(150):
        value = states[step % 3]
        net.weight.data = value
        assert (net(one) == SIZE * value[0, 0]).all()
    stop.set()
    for member in team:
        member.join()
    assert not failed
    assert seen <= {1.0, 2.0, 3.0}


# Defines a net of four large layers, what it has to give, and how to run threads.
FRESH = """
import os, sys, threading, time
import numpy as np
from lamella import _core, nn
SIZE = 2048
net = nn.Sequential(*[nn.Linear(SIZE, SIZE, bias=False) for _ in range(4)])
x = np.linspace(-1, 1, SIZE, dtype=np.float32).reshape(1, SIZE)

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) >> 10 for line in file if line.startswith("VmHWM"))

def together(count, work):
    failed = []
    def safely(index):
        try:
            work(index)
        except BaseException as error:
            failed.append(error)
    team = [threading.Thread(target=safely, args=(i,)) for i in range(count)]
    for member in team: member.start()
    for member in team: member.join()
    assert not failed, failed
"""


def in_a_fresh_process(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", FRESH + code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_threads_that_come_at_once_share_one_packing():
    """Programs of eight sizes, none of which has run: one packs, the others wait."""
    code = """
from lamella.runtime.session import compile_call
sizes = [compile_call(net, [np.repeat(x, count, 0)]).program for count in range(1, 9)]
before = peak()
results = [None] * 8
def work(index):
    results[index] = sizes[index].run([np.repeat(x, index + 1, 0)])[0]
together(8, work)
assert all((one == results[0][0]).all() for one in results)
print(peak() - before)
"""
    assert int(in_a_fresh_process(code)) < 5 * MEGABYTES  # four layers, and room for the threads


@pytest.mark.alone
def test_others_get_on_while_weights_are_packed():
    code = """
from lamella.runtime.session import compile_call
program = compile_call(net, [x]).program
_core.set_num_threads(1)
sys.setswitchinterval(1e-4)
ticks, done = [], threading.Event()
def work(index):
    if index == 0:
        start = time.perf_counter()
        program.run([x])
        ticks.append(("end", start, time.perf_counter()))
        done.set()
    else:
        while not done.is_set():
            ticks.append(("tick", time.perf_counter(), 0))
            time.sleep(0)
together(2, work)
_, start, end = next(one for one in ticks if one[0] == "end")
third = (end - start) / 3
print(sum(start + third < at < end - third for kind, at, _ in ticks if kind == "tick"))
"""
    assert int(in_a_fresh_process(code)) > 0


def test_forks_in_the_midst_of_preparing():
    """A child finds what nobody is left to finish, and makes it anew; its parent goes on."""
    net = "net = nn.Linear(SIZE, SIZE, bias=False)\nstored = net.weight"
    assert in_a_fresh_process(net + FORKS) == "well"


def test_failed_allocations_leave_nothing_half_made(rng):
    """Wherever memory runs out while two forms are prepared, the next call is right."""
    first, second = (nn.Parameter(rng.normal(size=(80, 80)), dtype=np.float32) for _ in range(2))
    x = rng.normal(size=(3, 80)).astype(np.float32)
    expected = matmul(matmul(x, first.array), second.array)
    failures = 0
    for number in range(1, 50):
        program = None  # nothing is packed any more
        program = compile_call(lambda x: matmul(matmul(x, first), second), [x]).program
        _core.fail_allocation(number)
        try:
            same_bits(program.run([x])[0], expected)
            break
        except MemoryError:
            failures += 1
        finally:
            _core.fail_allocation(0)
        same_bits(program.run([x])[0], expected)
    assert failures >= 4


def test_changes_while_many_sizes_prepare(rng):
    """Every result is one of a state that there was, and the last one that of the last state."""
    weight = nn.Parameter(np.ones((300, 300)), dtype=np.float32)
    inputs = [np.ones((count, 300), np.float32) for count in (1, 2, 3)]
    programs = [compile_call(lambda x: matmul(x, weight), [x]).program for x in inputs]
    stop, failed = threading.Event(), []

    def work(program: _core.Program, x: np.ndarray) -> None:
        try:
            while not stop.is_set():
                y = program.run([x])[0]
                assert (y == y[0, 0]).all(), "of two states"
                assert y[0, 0] in (300.0, 600.0, 900.0)
        except BaseException as error:
            failed.append(error)

    team = [threading.Thread(target=work, args=pair) for pair in zip(programs, inputs, strict=True)]
    for member in team:
        member.start()
    for step in range(200):
        weight.data = np.full((300, 300), step % 3 + 1.0, np.float32)
    stop.set()
    for member in team:
        member.join()
    assert not failed
    for program, x in zip(programs, inputs, strict=True):
        assert (program.run([x])[0] == 300.0 * (199 % 3 + 1)).all()
