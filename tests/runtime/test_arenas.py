# SPDX-License-Identifier: Apache-2.0
"""Scratch memory: one pool for all programs, and what nobody needs any more goes back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from comparators import same_bits
from lamella.functional import tanh
from lamella.runtime.session import compile_call

# Defines `program(megabytes)`, whose runs write that much of their arena, and its input.
FRESH = """
import gc, os, sys, time
import numpy as np
from lamella import _core

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

one = np.ones(1, np.float32)
def program(megabytes):
    count = megabytes << 18
    builder = _core.ProgramBuilder(
        inputs=[("float32", (1,))], outputs=[("float32", (1,))]
    )
    copy = lambda n, x, step, y: builder.add(
        _core.CopySpec(item_bytes=4, shape=(n,), x_strides=(step,), y_strides=(1,)), x=x, y=y
    )
    arena = builder.range(count * 4)
    copy(count, builder.input(0), 0, arena)
    copy(1, arena.shifted(count * 4 - 4), 1, builder.output(0))
    return builder.build()
"""


def in_a_fresh_process(code: str) -> list[int]:
    """The numbers that it prints."""
    result = subprocess.run(
        [sys.executable, "-c", FRESH + code], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return [int(word) for word in result.stdout.split()]


def test_many_sizes_cost_one_arena():
    code = """
before = resident()
kept = [program(megabytes) for megabytes in range(40, 80, 4)]
for _ in range(2):
    for one_of_them in kept:
        assert one_of_them.run([one])[0] == 1
print(resident() - before)
"""
    (grown,) = in_a_fresh_process(code)
    assert 60 <= grown <= 100, "80 MB, and some to grow"


@pytest.mark.memory
def test_memory_goes_back_with_the_last_program_that_wants_it():
    code = """
small, before = program(3), resident()
large = program(100)
large.run([one])
print(resident() - before)
del large
gc.collect()
print(resident() - before)
assert small.run([one])[0] == 1
"""
    with_it, without = in_a_fresh_process(code)
    assert with_it >= 100
    assert without <= 10


@pytest.mark.alone
@pytest.mark.memory
def test_what_is_idle_for_long_goes_back():
    """A second later, when small programs go on."""
    code = """
large, before = program(100), resident()
from lamella import nn
net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
x = np.ones((1, 8), np.float32)
net(x)
large.run([one])
print(resident() - before)
for _ in range(3000):
    net(x)
print(resident() - before)
time.sleep(1.1)
for _ in range(3000):
    net(x)
print(resident() - before)
assert large.run([one])[0] == 1
"""
    used, soon, later = in_a_fresh_process(code)
    assert used >= 100
    assert soon >= 100, "not before that"
    assert later <= 10


@pytest.mark.memory
def test_a_small_program_does_not_keep_a_large_arena():
    code = """
before = resident()
large, small = program(200), program(2)
for _ in range(3):
    large.run([one])
    small.run([one])
time.sleep(1.1)
small.run([one])
print(resident() - before)
"""
    (kept,) = in_a_fresh_process(code)
    assert kept <= 20


@pytest.mark.parametrize("width", [64, 600_000])
def test_runs_at_once_have_arenas_of_their_own(rng, width):
    """Small ones and large ones; several programs, more runs than there were before."""
    x = rng.normal(size=width).astype(np.float32)
    bodies = [lambda x: tanh(tanh(x).sum() + x), lambda x: tanh(x * tanh(x).sum())]
    programs = [compile_call(body, [x]).program for body in bodies]
    expected = [program.run([x])[0].copy() for program in programs]
    failed = []

    def work(index: int) -> None:
        try:
            for turn in range(20):
                which = (index + turn) % 2
                same_bits(programs[which].run([x])[0], expected[which])
        except BaseException as error:
            failed.append(error)

    team = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for member in team:
        member.start()
    for member in team:
        member.join()
    assert not failed


def test_a_forked_child_has_arenas(rng):
    x = rng.normal(size=700_000).astype(np.float32)
    program = compile_call(lambda x: tanh(tanh(x).sum() + x), [x]).program
    expected = program.run([x])[0].tobytes()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if program.run([x])[0].tobytes() == expected else 1)
    assert os.waitpid(pid, 0)[1] == 0
