# SPDX-License-Identifier: Apache-2.0
"""Every operator with a rule at its corners, against ONNX Runtime and onnx's ReferenceEvaluator.

A sample of what `make corners` runs, always the same; tests/corners draws and judges the cases.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from corners import judge as judging
from corners.draw import FED, Case, operators
from corners.families import GENERATORS
from corners.judge import draw, judge
from corners.oracles import Outcome, run_ours

SAMPLE = 20


def test_every_rule_has_a_generator() -> None:
    assert sorted(GENERATORS) == operators()


@pytest.mark.parametrize("key", operators())
@pytest.mark.filterwarnings("ignore")
def test_corners(key: str) -> None:
    verdicts = [judge(draw(key, GENERATORS, number)) for number in range(SAMPLE)]
    findings = [verdict for verdict in verdicts if verdict.finding]
    assert not findings, "\n".join(f"{v.kind}: {v.why}\n{v.report}" for v in findings)
    # Most of what is drawn has to be a case that somebody computes.
    assert sum(verdict.kind == "refused" for verdict in verdicts) <= SAMPLE // 2


def of(op: str, *inputs: np.ndarray, **attributes: object) -> Case:
    return Case(op, "", 18, 18, list(inputs), attributes, places=(FED,) * len(inputs))


X = np.array([[1.5, -2.0, 3.25], [0.0, -1.0, np.inf]], np.float32)


@pytest.mark.parametrize(
    ("case", "spoil"),
    [
        (of("Tanh", X), lambda y: np.nextafter(y, np.float32(9)) + y * np.float32(2e-6)),
        (of("Transpose", X), lambda y: y * np.float32(1 + 2e-7)),
        (of("Transpose", X), lambda y: y.T),
        (of("Transpose", X), lambda y: y.astype(np.float64)),
        (of("Neg", X), lambda y: y + np.float32(0)),
        (of("ReduceSum", X[:, :2]), lambda y: y + np.float32(1e-5)),
        (of("ArgMax", X), lambda y: y + 1),
        (of("Exp", X), lambda y: np.where(np.isinf(y), np.float32(np.nan), y)),
    ],
    ids=lambda value: str(getattr(value, "op", "")),
)
def test_a_wrong_result_is_found(case: Case, spoil, monkeypatch: pytest.MonkeyPatch) -> None:
    assert judge(case).kind == "agree"
    arrays = run_ours(case).arrays
    spoilt = [spoil(arrays[0]), *arrays[1:]]
    monkeypatch.setattr(judging, "run_ours", lambda case: Outcome(spoilt))
    assert judge(case).kind == "wrong"


def test_a_refusal_and_a_crash_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, kind in ((ValueError("x"), "crash"), (judging.UnsupportedError("x"), "refusal")):
        monkeypatch.setattr(judging, "run_ours", lambda case, e=error: Outcome(None, e))
        assert judge(of("Tanh", X)).kind == kind


def test_oracles_that_differ_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "run_runtime", lambda case: Outcome([np.zeros_like(X)]))
    assert judge(of("Tanh", X)).kind == "undecided"


def test_half_floats_are_the_numbers_they_hold() -> None:
    half = X.astype(np.float16)
    assert judge(of("Transpose", half)).kind == judge(replace(of("Exp", half))).kind == "agree"
