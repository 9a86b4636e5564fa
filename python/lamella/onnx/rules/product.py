# SPDX-License-Identifier: Apache-2.0
"""Products: MatMul, Gemm, and Einsum, which becomes one MatMul for each pair of operands."""

from __future__ import annotations

from math import prod
from typing import Any

from lamella.foreign.call import is_array
from lamella.foreign.rule import Rule
from lamella.foreign.words import binary, expand, matmul, permute, reduce, reshape
from lamella.onnx.rules.arithmetic import aligned
from lamella.onnx.rules.call import Call

__all__ = ["RULES"]


def _swapped(x: Any) -> Any:
    return permute(x, (1, 0))


def _gemm(call: Call, a: Any, b: Any, c: Any = None) -> Any:
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise call.malformed("operands are not matrices")
    a = _swapped(a) if call.integer("transA", 0) else a
    b = _swapped(b) if call.integer("transB", 0) else b
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    y = matmul(call, a, b)
    if alpha != 1.0:
        y = _scaled(call, y, alpha)
    if c is None or beta == 0.0:
        return y
    if call.version < 7:
        c = aligned(call, y, c)
    if len(c.shape) == 2 and c.shape[0] == 1:
        # A row is a bias, which the product takes into its epilogue.
        c = reshape(c, c.shape[1:])
    return binary(call, "add", y, c if beta == 1.0 else _scaled(call, c, beta))


def _scaled(call: Call, x: Any, factor: float) -> Any:
    if is_array(x) and x.dtype.kind in "iu":
        return (x * factor).astype(x.dtype)
    return binary(call, "mul", x, factor)


def _einsum(call: Call, *operands: Any) -> Any:
    text = call.text("equation").replace(" ", "")
    terms, arrow, result = text.partition("->")
    inputs = terms.split(",")
    if len(inputs) != len(operands) or not operands:
        raise call.malformed("the equation has another number of operands")
    hidden_axes = [
        len(x.shape) - len(term.replace("...", ""))
        for term, x in zip(inputs, operands, strict=True)
        if "..." in term
    ]
    dots = max(hidden_axes, default=0)
    # Axes under an ellipsis get the letters of this alphabet, the last axis the last letter.
    spare = [chr(0x370 + i) for i in range(dots)]
    parts: list[tuple[str, Any]] = []
    written = ""
    for term, x in zip(inputs, operands, strict=True):
        hidden = len(x.shape) - len(term.replace("...", ""))
        letters = term.replace("...", "".join(spare[dots - hidden :]) if hidden else "")
        if len(letters) != len(x.shape):
            raise call.malformed("a term has another number of axes than its operand")
        written += letters
        parts.append(_diagonal(call, letters, x))
    if arrow:
        letters = result.replace("...", "".join(spare))
    else:
        # As written: a letter twice in one term is summed too.
        once = sorted(c for c in set(written) if written.count(c) == 1 and c not in spare)
        letters = "".join(spare) + "".join(once)
    first = parts[0]
    for position, second in enumerate(parts[1:], 2):
        later = letters + "".join(term for term, _ in parts[position:])
        first = _pair(call, first, second, later)
    term, x = first
    gone = [i for i, c in enumerate(term) if c not in letters]
    if gone:
        x = reduce(call, "sum", x, gone, False)
        term = "".join(c for c in term if c in letters)
    if sorted(term) != sorted(letters):
        raise call.malformed("the result has axes that no operand has")
    return permute(x, [term.index(c) for c in letters]) if term != letters else x


def _diagonal(call: Call, letters: str, x: Any) -> tuple[str, Any]:
    """Letters that occur twice in one term stand for a diagonal."""
    for letter in letters:
        while letters.count(letter) > 1:
            i = letters.index(letter)
            j = letters.index(letter, i + 1)
            n = x.shape[i]
            rest = [k for k in range(len(letters)) if k not in (i, j)]
            moved = permute(x, [i, j, *rest])
            flat = reshape(moved, (n * n, *(x.shape[k] for k in rest)))
            x = flat[:: n + 1]
            letters = letter + "".join(letters[k] for k in rest)
    return letters, x


def _pair(
    call: Call, first: tuple[str, Any], second: tuple[str, Any], later: str
) -> tuple[str, Any]:
    """One MatMul: letters of both that are needed later are its batch, others are summed."""
    (s, a), (t, b) = first, second
    alone = [i for i, c in enumerate(s) if c not in t and c not in later]
    a, s = (reduce(call, "sum", a, alone, False) if alone else a), _without(s, alone)
    alone = [i for i, c in enumerate(t) if c not in s and c not in later]
    b, t = (reduce(call, "sum", b, alone, False) if alone else b), _without(t, alone)
    batch = [c for c in s if c in t and c in later]
    inner = [c for c in s if c in t and c not in later]
    left, right = [c for c in s if c not in t], [c for c in t if c not in s]
    size: dict[str, int] = {}
    for term, x in ((s, a), (t, b)):
        for c, extent in zip(term, x.shape, strict=True):
            if size.setdefault(c, extent) != extent:
                if 1 not in (size[c], extent):
                    raise call.malformed(f"extents of {c!r} differ")
                size[c] = max(size[c], extent)
    a = _arranged(call, s, a, [*batch, *left, *inner], size)
    b = _arranged(call, t, b, [*batch, *inner, *right], size)
    lead = [size[c] for c in batch]
    m, k, n = (prod(size[c] for c in group) for group in (left, inner, right))
    y = matmul(call, reshape(a, (*lead, m, k)), reshape(b, (*lead, k, n)))
    order = [*batch, *left, *right]
    return "".join(order), reshape(y, [size[c] for c in order])


def _without(term: str, positions: list[int]) -> str:
    return "".join(c for i, c in enumerate(term) if i not in positions)


def _arranged(call: Call, term: str, x: Any, order: list[str], size: dict[str, int]) -> Any:
    moved = permute(x, [term.index(c) for c in order])
    target = tuple(size[c] for c in order)
    return moved if tuple(moved.shape) == target else expand(call, moved, target)


RULES: dict[tuple[str, int], Rule] = {
    ("MatMul", 1): Rule(matmul, "N N", floats=True),
    ("Gemm", 1): Rule(_gemm, "N N N?", floats=True),
    ("Einsum", 12): Rule(_einsum, "N*", floats=True),
}
