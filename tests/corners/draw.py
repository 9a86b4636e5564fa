# SPDX-License-Identifier: Apache-2.0
"""A Case, one node with its operands, and Draw, which makes a generator's choices.

Opset and element types come from the operator's schema, cut down to what lamella reads; numbers are
often the ends of their type, zeros of either sign, infinities and NaN. A case is decided by its
operator and number alone, so that it can be drawn again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from onnx import defs, helper

from lamella.onnx import tensors
from lamella.onnx.plan import NEWEST, OLDEST
from lamella.onnx.rules import RULES, find

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HALVES = (np.dtype(np.float16), BFLOAT16)
SIZES = (0, 1, 1, 2, 2, 3, 3, 7)
FED, INITIALIZER, CONSTANT = "fed", "initializer", "constant"
# The newest version of each domain but the main one, and the main opset beside it.
ML = "ai.onnx.ml"

Generator = Callable[["Draw"], "Case"]


@dataclass
class Case:
    """One node: its operands (None: left out) and where they come from, attributes, outputs.

    outputs: for each whether it is asked for. notes: alone, why no oracle may see it.
    """

    op: str
    domain: str
    opset: int
    since: int
    inputs: list[np.ndarray | None]
    attributes: dict[str, Any]
    outputs: tuple[bool, ...] = (True,)
    places: tuple[str, ...] = ()
    number: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """As in RULES."""
        return f"{self.domain}:{self.op}" if self.domain else self.op

    def __str__(self) -> str:
        lines = [f"{self.key} #{self.number}, opset {self.opset} (since {self.since})"]
        shown = {k: v for k, v in self.attributes.items() if not k.startswith("_")}
        if shown:
            lines.append(f"  attributes {shown}")
        for i, (x, place) in enumerate(zip(self.inputs, self.places, strict=True)):
            if x is not None:
                numbers = np.array2string(x.reshape(-1)[:24], max_line_width=200)
                lines.append(f"  operand {i} {place} {x.dtype}{list(x.shape)} {numbers}")
        return "\n".join(lines)


def floating(dtype: np.dtype[Any]) -> bool:
    """Whether a type is floating, bfloat16 among them."""
    return dtype.kind == "f" or dtype == BFLOAT16


def names(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


def operators() -> list[str]:
    """Every operator with a rule, as RULES has it."""
    return sorted({key for key, _ in RULES})


def versions(key: str) -> list[tuple[int, list[int]]]:
    """For each version of an operator's schema that a rule claims: the opsets in which it holds."""
    domain, _, op = key.rpartition(":")
    newest = NEWEST if not domain else 4
    found: dict[int, list[int]] = {}
    for opset in range(1 if domain else OLDEST, newest + 1):
        if find(op, domain, opset) is None:
            continue
        try:
            schema = defs.get_schema(op, opset, domain)
        except defs.SchemaError:
            continue
        if not schema.deprecated:
            found.setdefault(schema.since_version, []).append(opset)
    return sorted(found.items())


class Draw:
    """The choices of one case."""

    def __init__(self, key: str, number: int) -> None:
        self.domain, _, self.op = key.rpartition(":")
        self.number = number
        self.rng = np.random.default_rng([zlib.crc32(key.encode()), number])
        since, opsets = self.pick(versions(key))
        self.since = since
        # Both ends of a version, so that what the next one changes is seen from here.
        self.opset = self.pick((opsets[0], opsets[-1]))
        self.schema = defs.get_schema(self.op, self.opset, self.domain)
        self.types: dict[str, np.dtype[Any]] = {}

    # Choices

    def chance(self, probability: float = 0.5) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, options: Iterable[Any]) -> Any:
        options = list(options)
        return options[int(self.rng.integers(len(options)))]

    def integer(self, low: int, high: int) -> int:
        """One of low..high, both included."""
        return int(self.rng.integers(low, high + 1))

    # Types

    def allowed(self, position: int) -> list[np.dtype[Any]]:
        """The element types that an operand may have and that are read here."""
        name = self._variable(position)
        kinds = {c.type_param_str: c.allowed_type_strs for c in self.schema.type_constraints}
        found = []
        for text in sorted(kinds.get(name, [name])):
            if not text.startswith("tensor("):
                continue
            number = defs_type(text)
            if number in tensors.DTYPES:
                found.append(np.dtype(helper.tensor_dtype_to_np_dtype(number)))
        return found

    def _variable(self, position: int) -> str:
        inputs = self.schema.inputs
        return str(inputs[min(position, len(inputs) - 1)].type_str)

    def type(self, position: int, among: Callable[[np.dtype[Any]], bool] | None = None) -> Any:
        """The element type of an operand: drawn once for all that share a type."""
        name = self._variable(position)
        if name not in self.types:
            options = [t for t in self.allowed(position) if among is None or among(t)]
            whole = [t for t in options if t not in HALVES]
            single = np.dtype(np.float32)
            if single in options and self.chance(0.4):
                self.types[name] = single
            elif whole and self.chance(0.85):
                self.types[name] = self.pick(whole)
            else:
                self.types[name] = self.pick(options)
        return self.types[name]

    # Shapes

    def shape(self, least: int = 0, most: int = 5, sizes: Sequence[int] = SIZES) -> tuple[int, ...]:
        """Of least to most axes, of at most 700 elements."""
        rank = self.integer(least, most)
        extents = [self.pick(sizes) for _ in range(rank)]
        while np.prod([max(n, 1) for n in extents]) > 700:
            extents[extents.index(max(extents))] = 2 if max(extents) > 2 else 1
        return tuple(extents)

    def beside(self, shape: tuple[int, ...], wider: bool = True) -> tuple[int, ...]:
        """A shape that broadcasts with this one."""
        extents = [1 if self.chance(0.3) else n for n in shape]
        if self.chance(0.4) and extents:
            extents = extents[self.integer(0, len(extents)) :]
        if wider and len(shape) < 5 and self.chance(0.15):
            full = [1] * (len(shape) - len(extents)) + extents
            extents = [self.pick((1, 2, 3)), *full]
        if wider:
            # The other direction too: what was one here may be more there.
            extents = [
                self.pick((2, 3)) if n == 1 and i < len(shape) and shape[-1 - i] == 1
                and self.chance(0.3) else n
                for i, n in enumerate(reversed(extents))
            ][::-1]  # fmt: skip
        return tuple(extents)

    def axis(self, rank: int) -> int:
        """An axis, often the first or last, counted from either end."""
        at = self.pick((0, rank - 1, self.integer(0, rank - 1)))
        return at - rank if self.chance() and self.counts_back else at

    @property
    def counts_back(self) -> bool:
        """Negative axes came with opset 11."""
        return self.opset >= 11 or bool(self.domain)

    def some_axes(self, rank: int, least: int = 0) -> list[int]:
        """Different axes in any order, counted from either end."""
        count = self.integer(least, rank)
        order = self.rng.permutation(rank)[:count].tolist()
        return [a - rank if self.chance(0.4) and self.counts_back else a for a in order]

    # Numbers

    def array(
        self, shape: Sequence[int], dtype: Any, flavour: str = "corner"
    ) -> np.ndarray[Any, np.dtype[Any]]:
        """Numbers of a type. Flavours: corner (any number at all), special (moderate, infinities,
        NaN), tame (moderate), small (a few small integers), unit (within -1 to 1).
        """
        dtype = np.dtype(dtype)
        count = int(np.prod(shape))
        if dtype.kind == "b":
            return self.rng.integers(0, 2, shape).astype(bool)
        if flavour == "small":
            low = 0 if dtype.kind == "u" else -3
            return self.rng.integers(low, 4, shape).astype(dtype)
        if floating(dtype):
            values = self._floats(count, dtype, flavour)
        else:
            values = self._integers(count, dtype, flavour)
        return np.asarray(values, dtype).reshape(tuple(shape))

    def _floats(self, count: int, dtype: np.dtype[Any], flavour: str) -> np.ndarray[Any, Any]:
        spread = {"unit": 0.5, "tame": 2.0}.get(flavour, 10.0 ** self.integer(-2, 2))
        values = self.rng.standard_normal(count) * spread
        if flavour == "unit":
            values = values.clip(-1, 1)
        if flavour in ("unit", "tame"):
            values[self.rng.random(count) < 0.1] = self.pick((0.0, -0.0, 1.0, -1.0))
            return values
        limits = ml_dtypes.finfo(dtype)
        pool = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, np.nan, np.inf, -np.inf]
        if flavour == "corner":
            ends = (
                limits.max,
                limits.tiny,
                limits.smallest_subnormal,
                limits.eps,
                0.75 * limits.tiny,
            )
            pool += [float(sign * x) for x in ends for sign in (1, -1)] + [1 + float(limits.eps)]
            pool += [88.0, -88.0, 104.0, -104.0, 1e-10]
            pool += [2.0**24, 2.0**31, -(2.0**31), 2.0**53, 2.0**63]
        share = self.pick((0.0, 0.15, 0.5, 1.0))
        chosen = self.rng.random(count) < share
        values[chosen] = self.rng.choice(np.array(pool), count)[chosen]
        with np.errstate(all="ignore"):
            return values.astype(dtype)

    def _integers(self, count: int, dtype: np.dtype[Any], flavour: str) -> np.ndarray[Any, Any]:
        limits = np.iinfo(dtype)
        wide = np.array([self.integer(-9, 9) for _ in range(count)], object)
        if flavour == "corner":
            pool = [0, 1, -1, 2, 3, limits.max, limits.min, limits.max - 1, limits.min + 1,
                    limits.max // 2 + 1, 2**24 + 1, 2**31 - 1, 2**31, 2**53 + 1]  # fmt: skip
            share = self.pick((0.0, 0.2, 0.7))
            for i in range(count):
                if self.chance(share):
                    wide[i] = self.pick(pool)
        span = int(limits.max) - int(limits.min) + 1
        low = int(limits.min)
        return np.array([(int(n) - low) % span + low for n in wide], dtype)

    # The case

    def case(
        self,
        inputs: Sequence[np.ndarray | None],
        attributes: dict[str, Any] | None = None,
        outputs: int | Sequence[bool] = 1,
        fixed: Sequence[int] = (),
        **notes: Any,
    ) -> Case:
        """The case; fixed: operands that are known whatever is drawn for the others."""
        operands = [None if x is None else np.asarray(x) for x in inputs]
        while operands and operands[-1] is None:
            operands.pop()
        mode = self.pick((FED, FED, FED, INITIALIZER, CONSTANT, "any", "any"))
        places = [
            self.pick((FED, INITIALIZER, CONSTANT)) if mode == "any" else mode for _ in operands
        ]
        for position in fixed:
            if position < len(places) and places[position] == FED:
                places[position] = INITIALIZER
        return Case(
            self.op,
            self.domain,
            self.opset,
            self.since,
            operands,
            dict(attributes or {}),
            (True,) * outputs if isinstance(outputs, int) else tuple(outputs),
            tuple(places),
            self.number,
            notes,
        )


def defs_type(text: str) -> int:
    """The number of `tensor(float)` and its like."""
    name = text.removeprefix("tensor(").removesuffix(")").upper()
    names = {tensors.type_name(number).upper(): number for number in tensors.DTYPES}
    return names.get(name, -1)
