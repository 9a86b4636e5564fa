# SPDX-License-Identifier: Apache-2.0
"""What is decided by hand: where the oracles differ, and what lamella refuses.

A Decision names the kind of cases, who is right by the operator's text and why; "open" where the
text decides nothing. A Refusal names what oracles compute and lamella does not, and why. The first
that fits counts. A case that neither table names is a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from corners.draw import Case
from corners.oracles import Outcome

When = Callable[[Case, Outcome, Outcome], bool]


@dataclass(frozen=True)
class Decision:
    """right: runtime, reference or open. ops: None for all. when: of the case and both outcomes."""

    ops: str | None
    right: str
    why: str
    when: When = lambda case, runtime, reference: True

    def fits(self, case: Case, runtime: Outcome, reference: Outcome) -> bool:
        named = self.ops is None or case.key in self.ops.split()
        return named and self.when(case, runtime, reference)


@dataclass(frozen=True)
class Refusal:
    """error: a pattern of the error's text. ops: None for all."""

    ops: str | None
    error: str
    why: str
    when: Callable[[Case], bool] = lambda case: True


# Where ONNX Runtime would end this process: it is not asked.
FATAL: tuple[tuple[str, str, Callable[[Case], bool]], ...] = (
    (
        "Einsum",
        "ONNX Runtime divides by an extent of 0",
        lambda case: any(x is not None and x.size == 0 for x in case.inputs),
    ),
)


def fatal(case: Case) -> str:
    """Why ONNX Runtime is not asked; "" where it is."""
    return next((why for ops, why, when in FATAL if case.key in ops.split() and when(case)), "")


def _no_kernel(case: Case, runtime: Outcome, reference: Outcome) -> bool:
    texts = (
        "not asked",
        "NOT_IMPLEMENTED",
        "is only available up to",
        "under development",
        "till opset",
    )
    return runtime.arrays is None and any(text in str(runtime.error) for text in texts)


def _runtime_fails(case: Case, runtime: Outcome, reference: Outcome) -> bool:
    return runtime.arrays is None and reference.arrays is not None


def _reference_fails(case: Case, runtime: Outcome, reference: Outcome) -> bool:
    return reference.arrays is None and runtime.arrays is not None


def _nan(case: Case, runtime: Outcome, reference: Outcome) -> bool:
    return any(x is not None and x.dtype.kind == "f" and np.isnan(x).any() for x in case.inputs)


def _not_finite(case: Case, runtime: Outcome, reference: Outcome) -> bool:
    return any(x is not None and x.dtype.kind == "f" and not np.isfinite(x).all()
               for x in case.inputs)  # fmt: skip


def _empty(case: Case, runtime: Outcome, reference: Outcome) -> bool:
    return any(x is not None and x.size == 0 for x in case.inputs)


def _integers(case: Case, runtime: Outcome, reference: Outcome) -> bool:
    return case.inputs[0] is not None and case.inputs[0].dtype.kind in "iu"


def _close(case: Case, runtime: Outcome, reference: Outcome) -> bool:
    if runtime.arrays is None or reference.arrays is None:
        return False
    pairs = zip(runtime.arrays, reference.arrays, strict=True)
    return all(
        a.dtype == b.dtype == np.float32 and a.shape == b.shape
        and np.allclose(a, b, 1e-3, 1e-5, equal_nan=True)
        for a, b in pairs
    )  # fmt: skip


DECISIONS: tuple[Decision, ...] = (
    Decision(
        None,
        "reference",
        "ONNX Runtime has no kernel for this type or version, or would crash",
        _no_kernel,
    ),
    Decision(
        None, "reference", "ONNX Runtime approximates; the reference in float64 is closer", _close
    ),
    Decision(
        "ArgMax ArgMin", "reference", "NaN: the text says nothing, NumPy takes the first", _nan
    ),
    Decision(
        "ReduceMax ReduceMin",
        "reference",
        "NaN: like NumPy, says the text, which hands it on",
        _nan,
    ),
    Decision(
        "Dropout",
        "open",
        "outside of training the mask is not filled until opset 10",
        lambda c, o, r: c.since < 10 and len(c.outputs) > 1 and o.arrays is not None,
    ),
    Decision(
        "ReduceMax ReduceMin",
        "reference",
        "ONNX Runtime has no larger of no truth values",
        _runtime_fails,
    ),
    Decision(
        "LayerNormalization",
        "open",
        "what nothing is normalised by is undefined",
        lambda c, o, r: c.inputs[0].size == 0 and len(c.outputs) > 1,
    ),
    Decision("ReduceMean", "open", "the mean of nothing is undefined", _empty),
    Decision(
        "Flatten GatherND", "runtime", "the reference fails for empty arrays", _reference_fails
    ),
    Decision(
        "Squeeze Unsqueeze", "runtime", "axes come in any order; the reference takes one at a time"
    ),
    Decision("Shape", "runtime", "the reference counts an end before the start from the end again"),
    Decision(
        "Slice",
        "reference",
        "ONNX Runtime takes the largest end for the last one of a step back",
        lambda c, o, r: any(n < 0 for n in c.inputs[-1].reshape(-1).tolist()),
    ),
    Decision("TopK", "reference", "ONNX Runtime refuses an attribute k of 0", _runtime_fails),
    Decision(
        "NegativeLogLikelihoodLoss",
        "runtime",
        "the reference counts what is ignored",
        lambda c, o, r: "ignore_index" in c.attributes and not _runtime_fails(c, o, r),
    ),
    Decision(
        "DynamicQuantizeLinear",
        "open",
        "of zeros alone the text's scale is 0, and nothing follows",
        lambda c, o, r: not c.inputs[0].any(),
    ),
    Decision(
        "HannWindow HammingWindow BlackmanWindow",
        "reference",
        "ONNX Runtime has no empty window",
        _runtime_fails,
    ),
    Decision("QuantizeLinear", "open", "NaN is no integer", _nan),
    Decision(
        "NonZero",
        "reference",
        "ONNX Runtime gives a number an axis",
        lambda c, o, r: c.inputs[0].ndim == 0,
    ),
    Decision(
        "MatMul", "reference", "ONNX Runtime fails for integers without terms", _runtime_fails
    ),
    Decision("ScatterND ScatterElements", "open", "the larger of NaN and a number", _nan),
    Decision(
        "ScatterElements",
        "reference",
        "ONNX Runtime has no smaller of truth values",
        _runtime_fails,
    ),
    Decision(
        "Shrink",
        "reference",
        "ONNX Runtime takes -lambd for an unsigned number, and doubles for floats",
    ),
    Decision(
        "Attention",
        "reference",
        "ONNX Runtime counts no past keys before a causal query",
        lambda c, o, r: (
            not _runtime_fails(c, o, r)
            and c.attributes.get("is_causal") == 1
            and len(c.inputs) > 4
            and len(c.outputs) == 3
        ),
    ),
    Decision(
        "Attention",
        "runtime",
        "the reference gives capped scores where raw ones are asked for",
        lambda c, o, r: not _runtime_fails(c, o, r) and len(c.outputs) > 3,
    ),
    Decision(
        "Einsum",
        "reference",
        "ONNX Runtime sums over no ellipsis",
        lambda c, o, r: _runtime_fails(c, o, r) and "..." in c.attributes["equation"],
    ),
    Decision("DequantizeLinear", "runtime", "the reference has no such version", _reference_fails),
    Decision(
        "DequantizeLinear", "reference", "ONNX Runtime wants more than one block", _runtime_fails
    ),
    Decision("Attention", "reference", "ONNX Runtime expands it for one type only", _runtime_fails),
    Decision(
        "GatherElements", "runtime", "other axes may be shorter in the indices", _reference_fails
    ),
    Decision(
        "CenterCropPad", "reference", "ONNX Runtime expands it for int64 sizes only", _runtime_fails
    ),
    Decision("ai.onnx.ml:Normalizer", "runtime", "the reference takes absolute values"),
    Decision(
        "ai.onnx.ml:Scaler", "runtime", "the reference computes integers as integers", _integers
    ),
    Decision("ai.onnx.ml:Binarizer", "reference", "ONNX Runtime refuses NaN", _nan),
)
REFUSALS: tuple[Refusal, ...] = ()
