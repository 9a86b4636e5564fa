# SPDX-License-Identifier: Apache-2.0
"""Sums of products named by letters, made of products of matrices.

Two operands are one stack of matrix products: letters that both have and the result too count the
stack, letters that both have alone are summed. More are multiplied pair by pair, always the pair
that adds least to what is kept. `out=` is written to and returned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import prod
from typing import NamedTuple

from lamella.errors import ShapeError, message
from lamella.functional.rearranging import diagonal
from lamella.ops.base import require_floating
from lamella.runtime import tensor
from lamella.runtime.function import function
from lamella.runtime.tensor import Operand

__all__ = ["einsum"]


# What the axes of '...' are called: no letter that anybody writes.
_SPARE = 0x10000


class Term(NamedTuple):
    """An operand and the letter of each of its axes."""

    letters: str
    x: Operand


@function
def einsum(equation: str, *operands: Operand) -> Operand:
    """Sums products of elements over the letters that the result does not have.

    y[result] = sum over all other letters of operands[0][letters] * operands[1][letters] * ...

    Parameters: equation, the letters of each operand's axes, with commas between, and behind '->'
    those of the result: 'bij,bjk->bik'. A letter twice in one operand takes the diagonal, '...'
    stands for axes that broadcast; without '->' the result has '...' and then the letters that
    occur once, in the order of the alphabet. Extents of 1 are repeated. operands, one or more.
    Returns: the result. Raises: ShapeError, DTypeError; ValueError for an equation that is none.
    Source: torch.einsum; numpy.einsum.

    >>> import numpy as np
    >>> from lamella import functional as F
    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    >>> F.einsum("ij,ij->i", x, x)
    array([ 5., 25.], dtype=float32)
    """
    names = tuple(f"operands[{i}]" for i in range(len(operands)))
    if operands:
        require_floating("einsum", names, [one._type for one in operands])
    letters, result = _read(equation, operands)
    sizes = _sizes(letters, operands)
    terms = [_single(term, x, sizes) for term, x in zip(letters, operands, strict=True)]
    while len(terms) > 1:
        first, second = _next(terms, result, sizes)
        a, b = terms[first], terms[second]
        rest = [term for i, term in enumerate(terms) if i not in (first, second)]
        later = result + "".join(term.letters for term in rest)
        terms = [*rest, _pair(a, b, later, sizes)]
    term = _summed(terms[0], result)
    # A letter of the result whose axis broadcasts and that nobody has left is of extent one.
    y = term.x.permute(tuple(term.letters.index(c) for c in result if c in term.letters))
    shape = tuple(sizes[c] if c in term.letters else 1 for c in result)
    return y if y.ndim == len(shape) else y.reshape(shape)


def _read(equation: str, operands: Sequence[Operand]) -> tuple[list[str], str]:
    """The letters of each operand and of the result."""
    if not isinstance(equation, str):
        raise _wrong(equation, "the equation is no text", type(equation), TypeError)
    left, arrow, right = equation.replace(" ", "").partition("->")
    written = left.split(",")
    if len(written) != len(operands):
        raise _wrong(equation, "the number of operands differs", len(operands))
    for text in (*written, right):
        if not all(c.isascii() and c.isalpha() for c in text.replace("...", "", 1)):
            raise _wrong(equation, "no letter", text)
    spare, letters = "", []
    for text, x in zip(written, operands, strict=True):
        named = len(text.replace("...", "", 1))
        more = x.ndim - named
        if more < 0 or (more and "..." not in text):
            raise _wrong(equation, f"{text!r} does not fit the axes", x.shape, ShapeError)
        found = "".join(chr(_SPARE + i) for i in range(more))[::-1]
        spare = max(spare, found, key=len)
        letters.append(text.replace("...", found, 1))
    if arrow:
        result = right.replace("...", spare, 1)
        if len(set(result)) < len(result):
            raise _wrong(equation, "a letter twice in the result", right)
        if missing := set(result) - set("".join(letters)):
            raise _wrong(equation, "a letter of the result that no operand has", sorted(missing))
        return letters, result
    count = Counter("".join(letters))
    once = sorted(c for c, times in count.items() if times == 1 and c not in spare)
    return letters, spare + "".join(once)


def _wrong(
    equation: object, rule: str, got: object, kind: type[Exception] = ValueError
) -> Exception:
    expected = "letters for axes, as in 'bij,bjk->bik'"
    return kind(message("einsum", rule, {"equation": equation, "got": got}, expected))


def _sizes(letters: Sequence[str], operands: Sequence[Operand]) -> dict[str, int]:
    """The extent of each letter; of those that differ all others have to be one."""
    sizes: dict[str, int] = {}
    for term, x in zip(letters, operands, strict=True):
        for c, extent in zip(term, x.shape, strict=True):
            before = sizes.setdefault(c, extent)
            if before != extent and 1 not in (before, extent):
                shapes = [one.shape for one in operands]
                name = "..." if ord(c) >= _SPARE else c
                raise ShapeError(
                    message(
                        "einsum", f"extents of {name!r} differ", {"operands": shapes}, "equal ones"
                    )
                )
            sizes[c] = extent if before == 1 else before
    return sizes


def _single(letters: str, x: Operand, sizes: dict[str, int]) -> Term:
    """An operand with each letter once, without axes that only repeat its elements."""
    for c in dict.fromkeys(letters):
        while letters.count(c) > 1:
            i = letters.index(c)
            j = letters.index(c, i + 1)
            if x.shape[i] != x.shape[j]:
                raise ShapeError(
                    message(
                        "einsum", f"no diagonal of {c!r}", {"operand": x.shape}, "equal extents"
                    )
                )
            x = diagonal(x, 0, i, j)
            letters = letters[:i] + letters[i + 1 : j] + letters[j + 1 :] + c
    kept = [i for i, c in enumerate(letters) if x.shape[i] == sizes[c]]
    if len(kept) < len(letters):
        x = x.reshape(tuple(x.shape[i] for i in kept))
    return Term("".join(letters[i] for i in kept), x)


def _next(terms: Sequence[Term], result: str, sizes: dict[str, int]) -> tuple[int, int]:
    """Which two to multiply next: those whose product is smallest beside themselves."""
    best, least = (0, 1), None
    if len(terms) == 2:
        return best
    for first, second in combinations(range(len(terms)), 2):
        others = "".join(term.letters for i, term in enumerate(terms) if i not in (first, second))
        both = set(terms[first].letters) | set(terms[second].letters)
        made = prod(sizes[c] for c in sorted(both) if c in result or c in others)
        grown = made - terms[first].x.numel() - terms[second].x.numel()
        if least is None or grown < least:
            best, least = (first, second), grown
    return best


def _summed(term: Term, later: str) -> Term:
    """A term without the letters that nobody needs any more."""
    gone = tuple(i for i, c in enumerate(term.letters) if c not in later)
    if not gone:
        return term
    return Term("".join(c for c in term.letters if c in later), term.x.sum(gone))


def _pair(a: Term, b: Term, later: str, sizes: dict[str, int]) -> Term:
    """The product of two terms; what both have and nobody needs later is summed."""
    a, b = _summed(a, later + b.letters), _summed(b, later + a.letters)
    stack = [c for c in a.letters if c in b.letters and c in later]
    inner = [c for c in a.letters if c in b.letters and c not in later]
    left = [c for c in a.letters if c not in b.letters]
    right = [c for c in b.letters if c not in a.letters]
    if left and right and later.startswith("".join([*stack, *right, *left])):
        # In the order of the result, which then need not be turned.
        a, b, left, right = b, a, right, left
    lead = tuple(sizes[c] for c in stack)
    m, k, n = (prod(sizes[c] for c in group) for group in (left, inner, right))
    x = _arranged(a, [*stack, *left, *inner]).reshape((*lead, m, k))
    y = _arranged(b, [*stack, *right, *inner]).reshape((*lead, n, k))
    if inner:
        product = tensor.matmul(x, y.mT)
    else:
        product = x * y.reshape((*lead, 1, n))
    order = [*stack, *left, *right]
    return Term("".join(order), product.reshape(tuple(sizes[c] for c in order)))


def _arranged(term: Term, order: Sequence[str]) -> Operand:
    return term.x.permute(tuple(term.letters.index(c) for c in order))
