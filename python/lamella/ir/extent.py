# SPDX-License-Identifier: Apache-2.0
"""Extents that know their formula: what a trace computes of sizes that are free.

An Extent counts as an int (isinstance says so) and has the value of the example. Arithmetic gives
Extents again; a comparison whose answer depends on the sizes is noted as a condition; what leaves
the integers is noted as a reason why the trace holds for its example only. It is no subclass of
int: range(n), seq[:n] and NumPy would read such a one unseen; this one they have to ask.
"""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from lamella.ir.polynomial import Atoms, Monomial, Polynomial, add, multiply, scale
from lamella.ir.reciprocal import Reciprocal

__all__ = ["LEAST", "Extent", "Extents", "index", "kept", "plain"]

Formula: TypeAlias = tuple[str, int, int]
Relation: TypeAlias = Literal["eq", "lt", "le"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# Below, broadcasting and loops take other ways.
LEAST: Final = 2


def plain(number: int) -> int:
    """The value of a number that may be an Extent; nothing is noted, so nothing may depend on it.

    For messages, and for limits that are judged again at every size.
    """
    return number.value if type(number) is Extent else number


def index(number: Any) -> int:
    """operator.index, which keeps the formula of an Extent."""
    # Type checkers know what isinstance would say of it.
    found: int = number if type(number) is Extent else operator.index(number)
    return found


def kept(value: Any) -> Any:
    """A value that outlives the trace: plain numbers in the place of Extents, which is a reason."""
    if type(value) is Extent:
        return operator.index(value)
    if type(value) is tuple and any(type(one) is Extent for one in value):
        return tuple(map(kept, value))
    return value


class Extents:
    """The free extents of one trace: their formulas, and what the trace took for granted.

    formulas: ("symbol", index, 0), ("constant", value, 0), or ("add" | "mul" | "floordiv", i, j) of
    formulas before; conditions: ("eq" | "ne" | "lt" | "le", i, j) between formulas, which held, the
    always true ones left out; reasons: why the trace holds for its example only; symbols: the
    example's values, each at least 2. lowering: set while the program is made, which may read
    values since it is told the formulas too; closed: set when it is, from when on nothing is noted
    of Extents that somebody kept. where: says which line of the user's is running.
    """

    def __init__(self, where: Callable[[], str] = str) -> None:
        self.formulas: list[Formula] = []
        self.conditions: list[Formula] = []
        self.reasons: list[str] = []
        self.symbols: list[int] = []
        self.lowering = self.closed = False
        # Leaves of graphs that are made of an extent; one for each formula and dtype.
        self.leaves: dict[Hashable, Any] = {}
        self._where = where
        self._atoms = Atoms()
        self._known: dict[frozenset[tuple[Monomial, int]], Extent] = {}
        self._numbers: dict[Formula, int] = {}
        self._answers: dict[tuple[Relation, frozenset[tuple[Monomial, int]]], bool] = {}
        self._noted: set[Formula] = set()
        # The sizes for which formulas were last evaluated, and what they gave.
        self._at: tuple[tuple[int, ...], list[int]] = ((), [])

    def symbol(self, value: int) -> Extent:
        """A new free extent; `value` is the example's."""
        if value < LEAST:
            raise ValueError(f"a free extent is at least {LEAST}, not {value}")
        self.symbols.append(value)
        found = self._extent(self._atoms.symbol(len(self.symbols) - 1, LEAST, value))
        assert type(found) is Extent
        return found

    def reason(self, text: str) -> None:
        """Notes why the trace holds for its example only, once for each line of the user's."""
        text += self._where()
        if text not in self.reasons and not self.closed:
            self.reasons.append(text)

    def number(self, value: int) -> int:
        """The index in `formulas` of an Extent of this trace, or of a plain number."""
        if type(value) is Extent:
            found = value._number
            if found < 0:
                found = value._number = self._formula(value._terms)
            return found
        return self._listed(("constant", int(value), 0))

    def values(self, symbols: Sequence[int]) -> list[int]:
        """What the formulas are for other values of the symbols."""
        found: list[int] = []
        binary = {"add": operator.add, "mul": operator.mul, "floordiv": operator.floordiv}
        for kind, i, j in self.formulas:
            if kind == "symbol":
                found.append(symbols[i])
            elif kind == "constant":
                found.append(i)
            else:
                # A divisor below 1 is one of sizes that a condition refuses.
                divides = kind == "floordiv" and found[j] < 1
                found.append(0 if divides else binary[kind](found[i], found[j]))
        return found

    def at(self, number: int, symbols: Sequence[int]) -> int:
        """What an Extent of this trace, or a plain number, is for other values of the symbols."""
        listed = self.number(number)
        key = tuple(symbols)
        if self._at[0] != key or len(self._at[1]) <= listed:
            self._at = key, self.values(symbols)
        return self._at[1][listed]

    def hold(self, symbols: Sequence[int]) -> bool:
        """Whether the conditions hold for other values of the symbols."""
        if min(symbols, default=LEAST) < LEAST:
            return False
        values = self.values(symbols)
        return all(
            getattr(operator, relation)(values[i], values[j]) for relation, i, j in self.conditions
        )

    # Formulas.

    def _listed(self, formula: Formula) -> int:
        found = self._numbers.get(formula)
        if found is None:
            found = self._numbers[formula] = len(self.formulas)
            self.formulas.append(formula)
        return found

    def _formula(self, terms: Polynomial) -> int:
        total: int | None = None
        for monomial, coefficient in sorted(terms.items(), reverse=True):
            term: int | None = None
            if coefficient != 1 or not monomial:
                term = self._listed(("constant", coefficient, 0))
            for atom in monomial:
                symbol, p, q = self._atoms.known[atom]
                if p:
                    factor = self._listed(("floordiv", self._formula(p), self._formula(q)))
                else:
                    factor = self._listed(("symbol", symbol, 0))
                term = factor if term is None else self._listed(("mul", term, factor))
            assert term is not None
            total = term if total is None else self._listed(("add", total, term))
        return self._listed(("constant", 0, 0)) if total is None else total

    def _extent(self, terms: Polynomial) -> int:
        """The one Extent of a polynomial; a plain int where it depends on no symbol."""
        if not terms:
            return 0
        if len(terms) == 1 and () in terms:
            return terms[()]
        key = frozenset(terms.items())
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Extent(self, terms, self._atoms.value(terms))
        return found

    def _computed(self, word: Any, p: Polynomial, q: Polynomial) -> int:
        """The result of an operator of whole numbers."""
        if word is operator.add or word is operator.sub:
            return self._extent(add(p, q, 1 if word is operator.add else -1))
        if word is operator.mul:
            return self._extent(multiply(p, q))
        divisor = self._atoms.value(q)
        if divisor == 0:
            raise ZeroDivisionError("integer division or modulo by zero")
        # Formulas divide by what is above 0 wherever the conditions hold.
        a, b = (p, q) if divisor > 0 else (scale(p, -1), scale(q, -1))
        self._holds("lt", {}, b)
        quotient = self._atoms.quotient(a, b)
        if word is operator.mod:
            return self._extent(add(p, multiply(q, quotient), -1))
        return self._extent(quotient)

    # Conditions.

    def _holds(self, relation: Relation, a: Polynomial, b: Polynomial) -> bool:
        """Whether a = b, a < b or a <= b in the example; noted if it is not always so."""
        gap = add(b, a, -1)
        key = (relation, frozenset(gap.items()))
        held = self._answers.get(key)
        if held is None:
            held = self._answers[key] = self._decided(relation, gap)
        return held

    def _decided(self, relation: Relation, gap: Polynomial) -> bool:
        """Whether the gap between two polynomials is 0, above 0, or not below."""
        low, high = self._atoms.bounds(gap)
        if relation == "eq":
            if low > 0 or high < 0:
                return False
            if low == high == 0:
                return True
        else:
            bound = 1 if relation == "lt" else 0
            if low >= bound:
                return True
            if high < bound:
                return False
        value = self._atoms.value(gap)
        held = value == 0 if relation == "eq" else value >= (1 if relation == "lt" else 0)
        divisor = math.gcd(*gap.values())
        right = {m: c // divisor for m, c in gap.items() if c > 0}
        left = {m: -c // divisor for m, c in gap.items() if c < 0}
        if relation == "eq":
            # A constant stands behind.
            if () in left or (() not in right and min(left, default=()) > min(right, default=())):
                left, right = right, left
            found = "eq" if held else "ne"
        elif held:
            found = relation
        else:
            left, right, found = right, left, "le" if relation == "lt" else "lt"
        i, j = (self.number(self._extent(side)) for side in (left, right))
        if (found, i, j) not in self._noted and not self.closed:
            self._noted.add((found, i, j))
            self.conditions.append((found, i, j))
        return held


if TYPE_CHECKING:
    # For type checkers it is what isinstance says.
    _Whole = int
else:
    _Whole = object


class Extent(_Whole):
    """A number of a trace with free extents: its value in the example, and its formula.

    number: the index of the formula in `extents.formulas`. Equal formulas are one object.
    """

    __slots__ = ("_number", "_terms", "extents", "value")

    def __init__(self, extents: Extents, terms: Polynomial, value: int) -> None:
        self.extents = extents
        self.value = value
        self._terms = terms
        self._number = -1

    # isinstance(n, int) asks for it.
    __class__ = property(lambda self: int)

    @property
    def number(self) -> int:
        """The index of its formula."""
        return self.extents.number(self)

    real = numerator = property(lambda self: self)

    def _polynomial(self, other: Any) -> Polynomial | None:
        """The polynomial of a whole number; None for what is none."""
        if type(other) is Extent:
            if other.extents is self.extents:
                return other._terms
            for one in (self.extents, other.extents):
                one.reason("an extent of another trace")
            other = other.value
        elif not isinstance(other, int | np.integer | np.bool_):
            return None
        return {(): int(other)} if other else {}

    # Arithmetic; of two operands: below.

    def __neg__(self) -> Any:
        return self.extents._extent(scale(self._terms, -1))

    def __pos__(self) -> Extent:
        return self

    def __abs__(self) -> Any:
        return -self if self < 0 else self

    def __invert__(self) -> Any:
        return -self - 1

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __pow__(self, exponent: Any, *modulus: Any) -> Any:
        if type(exponent) is int and 0 <= exponent <= 8 and not modulus:
            return math.prod([self] * exponent)
        return _as_number(pow, self, exponent, *modulus)

    def __lshift__(self, count: Any) -> Any:
        return self * 2**count if type(count) is int else _as_number(operator.lshift, self, count)

    def __rshift__(self, count: Any) -> Any:
        return self // 2**count if type(count) is int else _as_number(operator.rshift, self, count)

    def __rtruediv__(self, other: Any) -> Any:
        if isinstance(other, int | float) and type(other) is not Extent and other == 1:
            return Reciprocal(self)
        return _as_number(operator.truediv, other, self)

    # Comparisons.

    def _compare(self, relation: Relation, other: Any, turned: bool = False) -> Any:
        if isinstance(other, float | np.floating) and math.isfinite(other):
            whole = math.floor(other)
            if whole != other:
                # n < 2.5 is n <= 2, and 2.5 < n is 2 < n.
                if relation == "eq":
                    return False
                other, relation = whole, "lt" if turned else "le"
            else:
                other = whole
        elif isinstance(other, float | np.floating):
            pair = (other, self.value) if turned else (self.value, other)
            return bool(getattr(operator, relation)(*pair))
        terms = self._polynomial(other)
        if terms is None:
            return NotImplemented
        a, b = (terms, self._terms) if turned else (self._terms, terms)
        return self.extents._holds(relation, a, b)

    def __eq__(self, other: object) -> Any:
        return True if other is self else self._compare("eq", other)

    def __ne__(self, other: object) -> Any:
        equal = self == other
        return equal if equal is NotImplemented else not equal

    def __lt__(self, other: Any) -> Any:
        return self._compare("lt", other)

    def __le__(self, other: Any) -> Any:
        return self._compare("le", other)

    def __gt__(self, other: Any) -> Any:
        return self._compare("lt", other, turned=True)

    def __ge__(self, other: Any) -> Any:
        return self._compare("le", other, turned=True)

    def __bool__(self) -> bool:
        return not self.extents._holds("eq", self._terms, {})

    def __hash__(self) -> int:
        """That of the value: so equal numbers meet as keys, which is the user's decision."""
        frame = sys._getframe(1)
        while frame.f_code.co_filename == "<string>" and frame.f_back is not None:
            frame = frame.f_back
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            self.extents.reason("an extent as a key")
        return hash(self.value)

    # Leaving the integers.

    def _read(self, how: str) -> int:
        if not self.extents.lowering:
            self.extents.reason(how)
        return self.value

    def __index__(self) -> int:
        return self._read("an extent read as a plain number")

    def __int__(self) -> int:
        return self._read("int() of an extent")

    def __float__(self) -> float:
        return float(self._read("float() of an extent"))

    def __complex__(self) -> complex:
        return complex(float(self))

    def __trunc__(self) -> Extent:
        return self

    __ceil__ = __floor__ = __trunc__

    def __round__(self, digits: Any = None) -> Any:
        return self if digits is None or digits >= 0 else round(operator.index(self), digits)

    def __getattr__(self, name: str) -> Any:
        # bit_length and its like; words of NumPy's numbers are none of an int's.
        if name.startswith("__") or not hasattr(int, name):
            raise AttributeError(f"'int' object has no attribute {name!r}")
        return getattr(operator.index(self), name)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **named: Any) -> Any:
        """NumPy's functions of whole numbers, as Python's; of others the value, with a reason."""
        word = _WORDS.get(ufunc.__name__)
        if word is not None and method == "__call__" and not named:
            if all(isinstance(x, int | np.integer) for x in inputs):
                return word(*(x.item() if isinstance(x, np.generic) else x for x in inputs))
        if not all(isinstance(x, int | float | np.generic | np.ndarray | list) for x in inputs):
            return NotImplemented
        numbers = (x._read(f"np.{ufunc.__name__} of an extent") if type(x) is Extent else x
                   for x in inputs)  # fmt: skip
        return getattr(ufunc, method)(*numbers, **named)

    # Text, and copies.

    def __repr__(self) -> str:
        return repr(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def __reduce__(self) -> Any:
        return int, (operator.index(self),)

    def __copy__(self) -> Extent:
        return self

    def __deepcopy__(self, memo: Any) -> Extent:
        return self


def _as_number(word: Callable[..., Any], *operands: Any) -> Any:
    """What plain numbers give, with a reason; nothing for what is no number (a tensor)."""
    if not all(isinstance(x, int | float | complex | np.number) for x in operands):
        return NotImplemented
    return word(*(x._read("an extent in a fraction or power") if type(x) is Extent else x
                  for x in operands))  # fmt: skip


def _arithmetic(word: Callable[[Any, Any], Any], turned: bool) -> Callable[..., Any]:
    def method(self: Extent, other: Any) -> Any:
        terms = self._polynomial(other)
        a, b = (other, self) if turned else (self, other)
        if terms is None:
            return _as_number(word, a, b)
        p, q = (terms, self._terms) if turned else (self._terms, terms)
        return self.extents._computed(word, p, q)

    return method


for _word, _name in ((operator.add, "add"), (operator.sub, "sub"), (operator.mul, "mul"),
                     (operator.floordiv, "floordiv"), (operator.mod, "mod")):  # fmt: skip
    setattr(Extent, f"__{_name}__", _arithmetic(_word, False))
    setattr(Extent, f"__r{_name}__", _arithmetic(_word, True))


def _fraction(word: Callable[[Any, Any], Any], turned: bool) -> Callable[..., Any]:
    def method(self: Extent, other: Any) -> Any:
        return _as_number(word, *((other, self) if turned else (self, other)))

    return method


for _word, _name in ((operator.truediv, "truediv"), (operator.and_, "and"), (operator.or_, "or"),
                     (operator.xor, "xor")):  # fmt: skip
    setattr(Extent, f"__{_name}__", _fraction(_word, False))
    if _name != "truediv":
        setattr(Extent, f"__r{_name}__", _fraction(_word, True))
for _word, _name in ((pow, "pow"), (operator.lshift, "lshift"), (operator.rshift, "rshift")):
    setattr(Extent, f"__r{_name}__", _fraction(_word, True))

_WORDS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "negative": operator.neg,
    "absolute": operator.abs,
    "minimum": min,
    "maximum": max,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}
