# SPDX-License-Identifier: Apache-2.0
"""Polynomials with integer coefficients over atoms: the arithmetic behind extents.

A polynomial is a dict from monomials to coefficients other than 0; a monomial is the ascending
tuple of its atoms, as often as each is a factor, and () stands for one. So equal polynomials are
equal dicts. An atom is a symbol, or a quotient of polynomials that does not come out even.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, inf, isinf, prod
from typing import NamedTuple, TypeAlias

__all__ = ["Atom", "Atoms", "Monomial", "Polynomial", "add", "divide", "multiply", "scale"]

Monomial: TypeAlias = tuple[int, ...]
Polynomial: TypeAlias = dict[Monomial, int]
# The least and the greatest value; infinite where there is none.
Range: TypeAlias = tuple[float, float]


def add(p: Polynomial, q: Polynomial, factor: int = 1) -> Polynomial:
    """p + factor q."""
    total = dict(p)
    for monomial, coefficient in q.items():
        found = total.get(monomial, 0) + factor * coefficient
        if found:
            total[monomial] = found
        else:
            total.pop(monomial, None)
    return total


def scale(p: Polynomial, factor: int) -> Polynomial:
    """factor p."""
    return {monomial: factor * c for monomial, c in p.items()} if factor else {}


def multiply(p: Polynomial, q: Polynomial) -> Polynomial:
    """p q."""
    total: Polynomial = {}
    for left, a in p.items():
        for right, b in q.items():
            monomial = tuple(sorted(left + right))
            total[monomial] = total.get(monomial, 0) + a * b
    return {monomial: c for monomial, c in total.items() if c}


def _without(monomial: Monomial, factor: Monomial) -> Monomial | None:
    """monomial / factor; None where that is no monomial."""
    rest = list(monomial)
    for atom in factor:
        if atom not in rest:
            return None
        rest.remove(atom)
    return tuple(rest)


def _leading(p: Polynomial) -> Monomial:
    """The monomial of highest degree; of several the one whose atoms are listed last."""
    return max(p, key=lambda monomial: (len(monomial), monomial))


def divide(p: Polynomial, q: Polynomial) -> tuple[Polynomial, Polynomial]:
    """(quotient, rest) with p = q quotient + rest; q is not 0.

    By one term everything goes out that q divides, coefficients towards minus infinity. By several
    terms it is the division that leaves nothing, or else none at all.
    """
    first = _leading(q)
    factor = q[first]
    quotient: Polynomial = {}
    if len(q) == 1:
        rest: Polynomial = {}
        for monomial, coefficient in p.items():
            shorter = _without(monomial, first)
            whole, left = (0, coefficient) if shorter is None else divmod(coefficient, factor)
            if whole and shorter is not None:
                quotient[shorter] = whole
            if left:
                rest[monomial] = left
        return quotient, rest
    left_over = p
    while left_over:
        highest = _leading(left_over)
        shorter = _without(highest, first)
        if shorter is None or left_over[highest] % factor:
            return {}, p
        term = {shorter: left_over[highest] // factor}
        quotient = add(quotient, term)
        left_over = add(left_over, multiply(term, q), -1)
    return quotient, {}


def _common(polynomials: Sequence[Polynomial], atoms: set[int]) -> tuple[int, Monomial]:
    """The greatest common factor of all coefficients, and of all monomials among `atoms`."""
    monomials = [monomial for polynomial in polynomials for monomial in polynomial]
    shared = {atom: monomials[0].count(atom) for atom in atoms.intersection(monomials[0])}
    for monomial in monomials:
        shared = {atom: min(n, monomial.count(atom)) for atom, n in shared.items()}
    number = gcd(*(c for polynomial in polynomials for c in polynomial.values()))
    return number, tuple(sorted(atom for atom, n in shared.items() for _ in range(n)))


class Atom(NamedTuple):
    """A symbol by its index, or the quotient of two polynomials, rounded down."""

    symbol: int
    numerator: Polynomial
    denominator: Polynomial


class Atoms:
    """The atoms of one family of polynomials: what each is, between what it lies, and its value."""

    __slots__ = ("_quotients", "_ranges", "_values", "known")

    def __init__(self) -> None:
        self.known: list[Atom] = []
        self._ranges: list[Range] = []
        self._values: list[int] = []
        self._quotients: dict[tuple[frozenset[tuple[Monomial, int]], ...], int] = {}

    def symbol(self, index: int, least: int, value: int) -> Polynomial:
        """A new symbol."""
        return {(self._new(Atom(index, {}, {}), (least, inf), value),): 1}

    def _new(self, atom: Atom, span: Range, value: int) -> int:
        self.known.append(atom)
        self._ranges.append(span)
        self._values.append(value)
        return len(self.known) - 1

    def value(self, p: Polynomial) -> int:
        """The value of a polynomial."""
        return sum(c * prod(self._values[atom] for atom in m) for m, c in p.items())

    def bounds(self, p: Polynomial) -> Range:
        """Between what the values lie: n m - n is at least 2 for n, m >= 2, n - n // 2 at least 1.

        A quotient f = a // q by a number lies with a, as a - q < q f <= a.
        """
        low, high = self._apart(p)
        for monomial, factor in p.items():
            _, a, q = self.known[monomial[0]] if len(monomial) == 1 else (0, {}, {})
            if not a or len(q) > 1 or () not in q:
                continue
            divisor = q[()]
            rest = scale({m: c for m, c in p.items() if m != monomial}, divisor)
            least = add(a, {(): divisor - 1}, -1) if divisor > 1 else a
            # Of an infinite bound the quotient is no number, which max and min leave out.
            down, up = (least, a) if factor > 0 else (a, least)
            low = max(low, -(-self.bounds(add(rest, down, factor))[0] // divisor))
            high = min(high, self.bounds(add(rest, up, factor))[1] // divisor)
        return low, high

    def _apart(self, p: Polynomial) -> Range:
        """The same while each atom lies in its range, whatever the others are.

        Each atom is written as its lowest value and what it has beyond; then every term grows or
        falls alone.
        """
        moved: Polynomial = {}
        for monomial, coefficient in p.items():
            terms: Polynomial = {(): coefficient}
            for atom in monomial:
                least = self._ranges[atom][0]
                if least == -inf:
                    return -inf, inf
                terms = multiply(terms, add({(atom,): 1}, {(): int(least)} if least else {}))
            moved = add(moved, terms)
        low: float = moved.pop((), 0)
        high = low
        for monomial, coefficient in moved.items():
            widths = [self._ranges[atom][1] - self._ranges[atom][0] for atom in monomial]
            most = 0 if 0 in widths else prod(widths) * abs(coefficient)
            low, high = (low, high + most) if coefficient > 0 else (low - most, high)
        return low, high

    def quotient(self, p: Polynomial, q: Polynomial) -> Polynomial:
        """p // q, written in one way; q is above 0."""
        quotient, rest = divide(p, q)
        if not rest or (self.bounds(rest)[0] >= 0 and self.bounds(add(q, rest, -1))[0] >= 1):
            return quotient
        # A common factor above 0 goes out: floor(a r / (a q)) = floor(r / q).
        above = {atom for atom, span in enumerate(self._ranges) if span[0] >= 1}
        number, shared = _common((rest, q), above)
        if number > 1 or shared:
            factor = {shared: number}
            return add(quotient, self.quotient(divide(rest, factor)[0], divide(q, factor)[0]))
        divisor = q.get((), 0) if len(q) == 1 else 0
        for monomial, coefficient in list(rest.items()):
            # Coefficients of least size, so that equal remainders are written in one way.
            if monomial and 0 < divisor < 2 * coefficient:
                rest = add(rest, {monomial: -divisor})
                quotient = add(quotient, {monomial: 1})
        turned = add(add(q, {(): -1}), rest, -1)
        if rest[_leading(rest)] < 0 < turned[_leading(turned)]:
            # floor(r / q) = -floor((q - 1 - r) / q): the same for both ways to round up.
            return add(quotient, self.quotient(turned, q), -1)
        return add(quotient, {(self._uneven(rest, q),): 1})

    def _uneven(self, p: Polynomial, q: Polynomial) -> int:
        """The atom of p // q."""
        (only, one), *others = p.items()
        if one == 1 and not others and len(only) == 1:
            _, first, second = self.known[only[0]]
            if first:
                # (a // b) // c = a // (b c)
                return self._uneven(first, multiply(second, q))
        key = (frozenset(p.items()), frozenset(q.items()))
        found = self._quotients.get(key)
        if found is None:
            span = _span(self.bounds(p), self.bounds(q))
            value = self.value(p) // self.value(q)
            found = self._quotients[key] = self._new(Atom(0, p, q), span, value)
        return found


def _span(p: Range, q: Range) -> Range:
    """Between what p // q lies, q being at least 1."""
    q = max(q[0], 1), q[1]
    low = p[0] if isinf(p[0]) else p[0] // (q[1] if p[0] >= 0 else q[0])
    high = p[1] if isinf(p[1]) else p[1] // (q[0] if p[1] >= 0 else q[1])
    return low, high
