# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests: the instruction set, the number of threads, a seeded generator.

A test that takes `isa` or `threads` runs once for each of them; what it changed is put back. The
rooms of this folder (comparators, cases, guard) are importable by name from every test.
"""

from __future__ import annotations

import gc
import os
import sys
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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--again",
        action="store_true",
        help="one more pass, under another LAMELLA_ISA: without the tests that take `isa`",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--again"):
        seen = [item for item in items if "isa" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=seen)
        items[:] = [item for item in items if "isa" not in getattr(item, "fixturenames", ())]


def pytest_collection_finish() -> None:
    # Thousands of collected tests live to the end: tests of memory that collect garbage again and
    # again need not walk through them.
    gc.collect()
    gc.freeze()


# Every graph is verified after every pass.
os.environ.setdefault("LAMELLA_VERIFY", "1")


@pytest.fixture(params=_core.isas())
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
