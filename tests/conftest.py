# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests: the instruction set, the number of threads, a seeded generator.

A test that takes `isa` or `threads` runs once for each of them; what it changed is put back. The
rooms of this folder (comparators, cases, guard) are importable by name from every test.
"""

from __future__ import annotations

import gc
import os
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# NumPy's product is the reference of many tests. Its threads spin between calls, and on a machine
# with other work that costs ten times what they compute; OpenBLAS asks once, when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest

from lamella import _core

# At the end: no folder of tests can hide a library of the same name.
sys.path.append(str(Path(__file__).parent))


# Of a test with more cases than FEW a sampled pass takes every PART-th.
FEW, PART = 16, 4


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--again",
        action="store_true",
        help="one more pass, under another LAMELLA_ISA: without the tests that take `isa`",
    )
    parser.addoption(
        "--sampled",
        action="store_true",
        help=f"of more than {FEW} cases of a test that does not take `isa` every {PART}th",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone: judges times, so nothing may run beside it")
    text = "memory: judges what a process gives back, which a sanitizer's allocator keeps"
    config.addinivalue_line("markers", text)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    again, sampled = config.getoption("--again"), config.getoption("--sampled")
    cases = Counter(item.nodeid.partition("[")[0] for item in items)
    # By name, so that a case stays in or out whatever is added; each instruction set has its own.
    place = _core.isas().index(_core.isa())

    def taken(item: pytest.Item) -> bool:
        if "isa" in getattr(item, "fixturenames", ()):
            return not again
        few = cases[item.nodeid.partition("[")[0]] <= FEW
        return few or not sampled or (zlib.crc32(item.nodeid.encode()) + place) % PART == 0

    left = [item for item in items if not taken(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if taken(item)]


def pytest_collection_finish() -> None:
    # Thousands of collected tests live to the end: tests of memory that collect garbage again and
    # again need not walk through them.
    gc.collect()
    gc.freeze()


# Every graph is verified after every pass.
os.environ.setdefault("LAMELLA_VERIFY", "1")


# With VNNI AVX-512 is what it is without, but for products of bytes.
@pytest.fixture(params=[name for name in _core.isas() if f"{name}_vnni" not in _core.isas()])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set that runs here; programs built inside the test use it."""
    before = _core.isa()
    _core.select_isa(request.param)
    assert _core.isa() == request.param
    yield request.param
    _core.select_isa(before)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """One thread and two."""
    before = _core.num_threads()
    _core.set_num_threads(request.param)
    yield request.param
    _core.set_num_threads(before)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator seeded by the test's name: the same numbers in every run and order."""
    return np.random.default_rng(list(request.node.name.encode()))
