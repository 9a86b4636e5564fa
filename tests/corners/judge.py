# SPDX-License-Identifier: Apache-2.0
"""The verdict on a case: what the oracles say, which of them the text supports, whether we agree.

Operators that move, compare or count are exact, the sign of zero included where the oracles agree
on it. Floating ones are compared with the reference in float64: some units in the last place, and
where a result is ill-conditioned what it moves when operands move by a unit in their last place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from comparators import ulp_error, ulp_size
from corners.draw import Case, Draw, Generator, floating, names
from corners.formulas import FORMULAS, spread
from corners.kinds import DECISIONS, REFUSALS, fatal
from corners.oracles import Outcome, declared, run_ours, run_reference, run_runtime, widened
from lamella.errors import DTypeError, FormatError, ShapeError, UnsupportedError

# Of which every element is one of the operands' or counts something.
EXACT = frozenset(
    names("""Abs Neg Sign Floor Ceil Round IsNaN IsInf Relu Not BitwiseNot Identity Equal
    Greater Less GreaterOrEqual LessOrEqual And Or Xor Max Min BitwiseAnd
    BitwiseOr BitwiseXor BitShift Where Clip ThresholdedRelu Reshape Flatten
    Squeeze Unsqueeze Transpose Expand Tile Concat Split Slice Pad Shape Size
    DepthToSpace SpaceToDepth CenterCropPad Dropout Trilu Constant
    ConstantOfShape EyeLike Cast CastLike BitCast Gather GatherElements GatherND
    ArgMax ArgMin TopK NonZero Compress Unique OneHot ReverseSequence Scatter
    TensorScatter ReduceMax ReduceMin Hardmax MatMulInteger ai.onnx.ml:Binarizer
    ai.onnx.ml:ArrayFeatureExtractor ai.onnx.ml:LabelEncoder""")
)
# Quantised numbers, and remainders: a quotient in float64 would be another one at ties.
AS_TYPED = frozenset(
    names("""QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearMatMul Mod
    Range""")
)
# Units in the last place: of functions of one rounding or a short formula; and of the operands,
# where a result depends on them more than its own last place says.
FORWARD, BACKWARD = 8.0, 8.0
# The larger of 0 and -0 is either; what stands beside a wave of size 1, or is a
# logarithm of a sum that is nearly 1, is as exact as that.
EITHER_ZERO = frozenset(names("Max Min Clip Relu ReduceMax ReduceMin"))
OF_ONE = frozenset(
    names("HannWindow HammingWindow BlackmanWindow LogSoftmax SoftmaxCrossEntropyLoss")
)
CENTRED = frozenset(
    names("MeanVarianceNormalization LayerNormalization InstanceNormalization GroupNormalization")
)
LIMITS = frozenset(names("Swish SwiGLU Mish HardSwish Gelu Softsign"))
_CLEAN = (ShapeError, DTypeError, UnsupportedError, FormatError, IndexError)


@dataclass
class Verdict:
    """kind: agree, decided, open, alone, refused; or a finding."""

    kind: str
    why: str = ""
    report: str = ""

    @property
    def finding(self) -> bool:
        return self.kind in ("wrong", "undecided", "refusal", "crash")


def draw(key: str, generators: dict[str, Generator], number: int) -> Case:
    return generators[key](Draw(key, number))


def judge(case: Case) -> Verdict:
    """Runs a case everywhere and compares."""
    wide = widened(case)
    ours = run_ours(case)
    if ours.error is not None and not isinstance(ours.error, _CLEAN):
        return Verdict("crash", "an error that is none of lamella's", f"{case}\n  ours {ours}")
    if "alone" in case.notes:
        return Verdict("alone", case.notes["alone"])
    types = declared(wide)
    reason = fatal(wide)
    runtime = Outcome(None, RuntimeError(f"not asked: {reason}")) if reason else run_runtime(wide)
    runtime, reference = typed(runtime, types), typed(run_reference(wide), types)
    report = f"{case}\n  ours      {ours}\n  runtime   {runtime}\n  reference {reference}"
    want, right, why = reference, "", ""
    fault = same_oracles(case, runtime, reference)
    if fault:
        formula = FORMULAS.get(case.key)
        decisions = [d for d in DECISIONS if d.fits(wide, runtime, reference)]
        # What is said of one operator comes before what is said of all.
        decisions.sort(key=lambda d: d.ops is None)
        if formula is not None and (not decisions or decisions[0].ops is None):
            right, why = "formula", formula.why
            want = typed(by_formula(wide), types)
        elif decisions:
            right, why = decisions[0].right, decisions[0].why
            want = {"runtime": runtime, "reference": reference}.get(right, want)
        else:
            return Verdict("undecided", fault, report)
    if ours.arrays is None:
        if runtime.arrays is None and reference.arrays is None:
            return Verdict("refused", "by all three")
        for refusal in REFUSALS:
            named = refusal.ops is None or case.key in refusal.ops.split()
            if named and re.search(refusal.error, str(ours.error)) and refusal.when(case):
                return Verdict("refused", refusal.why)
        return Verdict("refusal", str(ours.error), report)
    if right == "open":
        return Verdict("open", why)
    if want.arrays is None:
        return Verdict("undecided", "who is right has no result", report)
    # Where both oracles agree on the sign of a zero, so do we.
    signs = [
        np.zeros(a.shape, bool) if fault or a.dtype.kind != "f" else np.signbit(a) == np.signbit(b)
        for a, b in zip(want.arrays, want.arrays if fault else runtime.arrays, strict=True)
    ]
    wrong = compare(wide, ours.arrays, want.arrays, types, signs)
    if wrong:
        return Verdict("wrong", wrong, f"{report}\n  right     {want}")
    return Verdict("decided", why) if why else Verdict("agree")


def by_formula(case: Case) -> Outcome:
    with np.errstate(all="ignore"):
        wide = widened(case, np.float64, (np.float32,))
        return Outcome(FORMULAS[case.key].results(wide))


def typed(outcome: Outcome, types: list[Any]) -> Outcome:
    """Arrays in the width that the graph declares; floats in place of integers stay."""
    if outcome.arrays is None:
        return outcome

    def as_declared(y: np.ndarray, dtype: Any) -> np.ndarray:
        whole = dtype is not None and y.dtype.kind in "iu" and dtype.kind in "iu"
        return y.astype(dtype) if whole or (dtype and y.dtype.kind == dtype.kind) else y

    with np.errstate(all="ignore"):
        return Outcome(
            [as_declared(y, dtype) for y, dtype in zip(outcome.arrays, types, strict=True)]
        )


def same_oracles(case: Case, a: Outcome, b: Outcome) -> str:
    """ "" where both have results that agree, to what single precision can say."""
    if a.arrays is None or b.arrays is None:
        return "an oracle refuses"
    for i, (x, y) in enumerate(zip(a.arrays, b.arrays, strict=True)):
        if x.shape != y.shape or x.dtype != y.dtype:
            return f"output {i}: form"
        if x.dtype.kind != "f" or case.key in EXACT:
            bad = ~((x == y) | ((x != x) & (y != y)))
        else:
            bad = _apart(x, y, 1.0 if case.key in OF_ONE else 0.0)
        if np.any(bad):
            return f"output {i}: {int(np.sum(bad))} elements"
    return ""


def _apart(x: np.ndarray, y: np.ndarray, floor: float = 0.0) -> np.ndarray:
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(x), np.abs(y)).astype(np.float64)
        scale = np.max(size, initial=floor, where=np.isfinite(size) & (size < 1e6))
        gap = np.abs(x.astype(np.float64) - y)
        near = gap <= 1e-5 * size + 2e-6 * scale + 1e-37
        return ~(near | (x == y) | ((x != x) & (y != y)))


def compare(
    case: Case, got: list[np.ndarray], want: list[np.ndarray], types: list[Any], signs: list[Any]
) -> str:
    """ "" where our results are right: shapes, element types, values."""
    for i, (x, y, t) in enumerate(zip(got, want, types, strict=True)):
        if x.shape != y.shape:
            return f"output {i}: shape {x.shape}, right {y.shape}"
        if t is not None and x.dtype != t:
            return f"output {i}: element type {x.dtype}, right {t}"
        exact = x.dtype.kind != "f" or case.key in EXACT
        bad = ~((x == y) | ((x != x) & (y != y)))
        if exact and case.key not in EITHER_ZERO and x.dtype.kind == "f":
            bad |= (x == 0) & (y == 0) & (np.signbit(x) != np.signbit(y)) & signs[i]
        if not bad.any():
            continue
        if not exact:
            bad = bad & _beyond(case, i, x, y)
        if np.any(bad):
            at = tuple(int(n) for n in np.argwhere(bad)[0])
            return f"output {i}: {int(np.sum(bad))} elements, at {at} {x[at]!r}, right {y[at]!r}"
    return ""


def _beyond(case: Case, output: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where a floating result is further from the right one than its bound."""
    exact = _precise(case, output, y)
    narrow = any(v is not None and v.dtype == np.float32 for v in case.inputs)
    if narrow or (case.key == "Attention" and "scale" in case.attributes):
        # Of operands of two types the narrower one says how exact a result is; a scale is of it.
        x = x.astype(np.float32)
    with np.errstate(all="ignore"):
        error = ulp_error(x, exact)
        classes = np.isnan(x) != np.isnan(exact)
        free = np.zeros(x.shape, bool)
        if case.key in LIMITS:
            # The formula's NaN, where an infinity meets a closed gate, or its limit.
            first = np.broadcast_to(case.inputs[0], x.shape).astype(np.float64)
            free = np.isnan(x) & np.isinf(first)
            # A gate in the subnormal range has lost its digits before it is multiplied.
            if case.op == "SwiGLU":
                second = case.inputs[1].astype(np.float64)
                free |= np.isnan(x) & np.isinf(second)
                first = first * np.maximum(np.abs(second), 1)
            free |= np.abs(x - exact) <= 2 * np.abs(first) * np.finfo(x.dtype).smallest_subnormal
        if case.key in OF_ONE:
            error = np.abs(x - exact) / np.finfo(x.dtype).eps / np.maximum(1, np.abs(exact))
        bad = (classes | ~(error <= FORWARD)) & ~free
        if not bad.any():
            return bad
        moved = np.zeros(x.shape)
        for seed in range(4):
            other = _precise(_shaken(case, seed, np.finfo(x.dtype).eps), output, y)
            step = ulp_error(other.astype(np.longdouble).astype(x.dtype), exact)
            moved = np.maximum(moved, np.where(np.isfinite(step), step, np.inf))
        if case.key in CENTRED:
            # Of what is normalised, before it is scaled and meets a bias.
            scale = np.max(np.abs(case.inputs[1]), initial=1) if len(case.inputs) > 1 else 1
            unit = np.finfo(x.dtype).eps / ulp_size(np.where(np.isfinite(exact), exact, 1), x.dtype)
            moved += spread(case) * scale * unit
        return (classes | ~(error <= FORWARD + BACKWARD * moved)) & ~free


def _precise(case: Case, output: int, y: np.ndarray) -> np.ndarray:
    """The reference in float64; y itself where that says nothing else."""
    if case.key in AS_TYPED:
        found = Outcome(None)
    elif case.key in FORMULAS:
        return by_formula(case).arrays[output].astype(np.longdouble)
    else:
        found = run_reference(widened(case, np.float64, (np.float32,)))
    z = None if found.arrays is None else np.asarray(found.arrays[output])
    if z is None or z.shape != y.shape or z.dtype.kind != "f":
        z = y
    with np.errstate(all="ignore"):
        near = ~_apart(z.astype(y.dtype), y, 1.0 if case.key in OF_ONE else 0.0) | (
            np.abs(z) > np.finfo(y.dtype).max
        )
    return np.where(near, z.astype(np.longdouble), y)


def _shaken(case: Case, seed: int, unit: float) -> Case:
    """Every floating operand moved by a unit in the last place, up or down."""
    rng = np.random.default_rng(seed)

    def move(x: np.ndarray | None) -> np.ndarray | None:
        if x is None or not floating(x.dtype):
            return x
        with np.errstate(all="ignore"):
            side = np.where(rng.random(x.shape) < 0.5, -np.inf, np.inf).astype(x.dtype)
            step = np.where(
                np.abs(x) < 1e-30, np.nextafter(x, side), x * (1 + unit * np.sign(side))
            )
            return np.where(np.isfinite(x) & (x != 0), step, x).astype(x.dtype)

    return replace(case, inputs=[move(x) for x in case.inputs])
