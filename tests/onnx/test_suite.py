# SPDX-License-Identifier: Apache-2.0
"""ONNX's own test suite on lamella.onnx.Backend: every case, but those listed in excluded.toml.

The counts are printed and may not drop; a case that is listed and passes is a fault too, and so is
a reason that is listed twice. Nothing is skipped by the suite's own exception.
"""

from __future__ import annotations

import os
import tomllib
import unittest
import warnings
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("onnx")

FLOORS = {
    "plain": 1029,
    "expanded": 418,
    "PyTorchConverted": 39,
    "PyTorchOperator": 32,
}
EXCLUDED = tomllib.loads((Path(__file__).parent / "excluded.toml").read_text())


def category(kind: str, name: str) -> str:
    if kind != "Node":
        return kind
    return "expanded" if "_expanded" in name else "plain"


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory):
    os.environ["ONNX_HOME"] = str(tmp_path_factory.mktemp("onnx"))
    with warnings.catch_warnings():
        # The suite's own data overflow and divide by zero while they are made.
        warnings.simplefilter("ignore")
        from onnx.backend.test import BackendTest

        from lamella.onnx.backend import Backend

        return BackendTest(Backend, __name__)


def run(test: type[unittest.TestCase], name: str) -> str | None:
    """None when a case passes, else its error."""
    result = unittest.TestResult()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        test(name).run(result)
    if result.skipped:
        return f"skipped: {result.skipped[0][1]}"
    faults = result.errors + result.failures
    return faults[0][1].strip().splitlines()[-1] if faults else None


def test_every_case_but_the_excluded_passes(runner, capsys: pytest.CaptureFixture[str]) -> None:
    reasons = {name: reason for reason, names in EXCLUDED.items() for name in names}
    assert len(reasons) == sum(map(len, EXCLUDED.values())), "a case is listed twice"
    passed: Counter[str] = Counter()
    excluded: Counter[str] = Counter()
    failed: dict[str, str] = {}
    unused = set(reasons)
    known = ("OnnxBackend", "Test")
    for kind, test in runner.test_cases.items():
        kind = kind.removeprefix(known[0]).removesuffix(known[1]).removesuffix("Model")
        for name in sorted(n for n in dir(test) if n.startswith("test_") and n.endswith("_cpu")):
            short = name.removesuffix("_cpu")
            unused.discard(short)
            fault = run(test, name)
            if fault is None:
                passed[category(kind, short)] += 1
                if short in reasons:
                    failed[short] = "listed as excluded, and passes"
            elif short in reasons:
                excluded[category(kind, short)] += 1
            else:
                failed[short] = fault
    with capsys.disabled():
        print("\nONNX backend suite (passed, excluded):")
        for kind in passed | excluded:
            print(f"  {kind:18} {passed[kind]:5} {excluded[kind]:5}")
    assert failed == {}
    assert unused == set(), "listed, but no case of the suite"
    assert {kind: passed[kind] for kind, floor in FLOORS.items() if passed[kind] < floor} == {}
