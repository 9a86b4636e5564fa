# SPDX-License-Identifier: Apache-2.0
"""What steps are thought to cost: every function has a figure of its own, in sane proportions.

How true the figures are is measured by `make costs` (tests/cpp/cost_check.cpp); no time is taken
here.
"""

from __future__ import annotations

import itertools

import pytest

import programs
from cases.elementwise import UNARY as CASES
from lamella.ir.types import DType
from lamella.ops.tables import BINARY, COMPARE, LOGICAL, UNARY

N = 1 << 16
LEAST_WORK = 20_000  # nanoseconds of shared work that are worth a second thread (DESIGN.md)


def element(program) -> float:
    """Nanoseconds an element; what a step costs beside its elements does not show."""
    return program.cost_ns / N


def unary(name: str, dtype: str = "float32") -> float:
    return element(programs.unary(name, dtype, (N,), CASES[name].params[0]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_function_has_a_cost(isa, dtype):
    found = {name: unary(name, dtype) for name in UNARY}
    found |= {name: element(programs.binary(name, dtype, (N,), (N,))) for name in BINARY}
    found |= {name: element(programs.binary(name, dtype, (N,), (N,), "bool")) for name in COMPARE}
    found["select"] = element(programs.select(dtype, (N,)))
    # Two bytes of a vector kernel that is bound by nothing, and a function of the C library.
    assert {name: cost for name, cost in found.items() if not 0.02 < cost < 30} == {}


def test_truth_values_and_casts_have_a_cost(isa):
    found = {
        name: element(programs.chain([("bool", (N,))] * 2, [(name, "bool", (0, 1), ())], "bool"))
        for name in LOGICAL
        if name != "logical_not"
    }
    computed = [dtype.name for dtype in DType if not dtype.is_storage]
    pairs = [*itertools.permutations(computed, 2), ("float32", "bfloat16"), ("float16", "float64")]
    found |= {f"{a} to {b}": element(programs.cast(a, b, (N,))) for a, b in pairs}
    assert {name: cost for name, cost in found.items() if not 0.01 < cost < 2} == {}


def test_proportions(isa):
    """Functions of one instruction are alike, and polynomials dearer than they are."""
    cheap = [unary(name) for name in ("abs", "relu", "relu6", "relu_squared", "clamp")]
    assert max(cheap) < 1.5 * min(cheap)
    for name in ("exp", "tanh", "gelu", "expm1", "sin", "atan", "celu", "erfc"):
        assert unary(name) > 1.5 * max(cheap), name
        assert unary(name, "float64") > unary(name), name
    assert unary("sqrt") > max(cheap)


def test_cheap_functions_of_few_elements_are_one_threads():
    for name in ("relu", "relu6", "relu_squared", "hardtanh"):
        assert programs.unary(name, "float32", (20_000,), CASES[name].params[0]).cost_ns < 3000
    assert programs.unary("atan", "float64", (20_000,)).cost_ns > LEAST_WORK


def test_what_is_the_same_for_all_elements_costs_nothing():
    one = programs.chain([("float32", (N,))], [("relu", "float32", (0,), ())], "float32")
    two = programs.chain(
        [("float32", (N,)), ("float32", (1,))],
        [("tan", "float32", (1,), ()), ("add", "float32", (0, 2), ())],
        "float32",
    )
    assert two.cost_ns < 2.5 * one.cost_ns
