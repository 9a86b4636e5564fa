# SPDX-License-Identifier: Apache-2.0
"""Packed weights: held once for all programs that read them, and never those of another moment."""

from __future__ import annotations

import gc
import os
import threading

import numpy as np
import pytest

from comparators import same_bits
from lamella import _core, nn
from lamella.functional import matmul
from lamella.runtime.session import compile_call

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
