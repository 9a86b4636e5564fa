# SPDX-License-Identifier: Apache-2.0
"""What rules say they take, beside ONNX's own schemas; and that a rule given operands of the right
kinds but any shapes, with any attributes, computes or refuses: nothing else leaves it.
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.defs import OpSchema
from onnx.printer import to_text

import lamella as lm
from lamella.errors import DTypeError, FormatError, ShapeError, UnsupportedError
from lamella.foreign.call import NeedsValue
from lamella.foreign.rule import LETTERS
from lamella.onnx.plan import NEWEST, OLDEST
from lamella.onnx.rules import RULES

KINDS = {
    "f": {"tensor(float16)", "tensor(float)", "tensor(double)", "tensor(bfloat16)"},
    "i": {f"tensor({sign}int{bits})" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "b": {"tensor(bool)"},
    "t": {"tensor(string)"},
}
# Taken beyond the schema: files of old exporters have it.
BEYOND = {"Sum": "i"}
# An attribute says which type the result has.
BY_ATTRIBUTE = {
    "BitCast",
    "BlackmanWindow",
    "Cast",
    "Constant",
    "ConstantOfShape",
    "EyeLike",
    "HammingWindow",
    "HannWindow",
    "QuantizeLinear",
    "ai.onnx.ml:LabelEncoder",
}
CASES = 8
TEXTS = ["", "add", "edge", "LEFT", "CRD", "ij,jk->ik", "i...,j", "none"]


def schemas(key: tuple[str, int]) -> list[OpSchema]:
    """The versions that a rule stands for."""
    domain, _, name = key[0].rpartition(":")
    found = [
        schema
        for schema in onnx.defs.get_all_schemas_with_history()
        if (schema.domain, schema.name) == (domain, name)
    ]
    since = sorted(schema.since_version for schema in found)
    later = [other for op, other in RULES if op == key[0] and other > key[1]]
    end = min([NEWEST + 1, *later])
    first = max((v for v in since if v <= max(key[1], OLDEST)), default=since[0])
    if domain:
        first, end = since[0], since[-1] + 1
    return [schema for schema in found if first <= schema.since_version < end]


def letters(schema: OpSchema, position: int) -> set[str]:
    """The kinds of elements of an operand of a schema."""
    formal = schema.inputs[position]
    types = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    allowed = set(types.get(formal.type_str, [formal.type_str]))
    return {letter for letter, kinds in KINDS.items() if kinds & allowed}


@pytest.mark.parametrize("key", sorted(RULES), ids=lambda key: f"{key[0]}-{key[1]}")
def test_rules_take_what_the_schemas_say(key: tuple[str, int]) -> None:
    words = RULES[key].takes.split()
    versions = schemas(key)
    assert versions
    assert len(words) == max(len(schema.inputs) for schema in versions)
    for position, word in enumerate(words):
        at = [schema for schema in versions if position < len(schema.inputs)]
        have = set().union(*(LETTERS[letter] for letter in word.rstrip("!@?*").lower()))
        want = set().union(*(letters(schema, position) for schema in at))
        assert have == want | set(BEYOND.get(key[0], "")), word
        options = {schema.inputs[position].option for schema in at}
        if len(at) < len(versions):
            options.add(OpSchema.FormalParameterOption.Optional)
        mark = word.lower().lstrip("".join(LETTERS)).lstrip("!@")
        assert (mark == "*") == (OpSchema.FormalParameterOption.Variadic in options)
        assert mark == "*" or (mark == "?") == (OpSchema.FormalParameterOption.Optional in options)


@pytest.mark.parametrize("key", sorted(RULES), ids=lambda key: f"{key[0]}-{key[1]}")
def test_rules_give_what_the_schemas_say(key: tuple[str, int]) -> None:
    """The element types by which it is decided where later nodes run."""
    words = RULES[key].gives.split()
    for schema in schemas(key):
        types = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
        for position, output in enumerate(schema.outputs):
            word = words[min(position, len(words) - 1)]
            allowed = set(types.get(output.type_str, [output.type_str]))
            if not word.isdigit():
                # The newest version's, where old ones gave floating masks.
                assert (
                    schema is not schemas(key)[-1]
                    or f"tensor({word.replace('float32', 'float')})" in allowed
                )
            elif allowed - KINDS["f"]:
                # Integers, or truth values: an operand of the same type, or an attribute.
                same = int(word) < len(schema.inputs)
                same = same and schema.inputs[int(word)].type_str == output.type_str
                assert same or key[0] in BY_ATTRIBUTE, (schema.since_version, output.name)


TYPES = {
    "f": (np.float32, np.float64),
    "i": (np.int64, np.int32, np.uint8, np.int16, np.uint64),
    "b": (np.bool_,),
}


class Draw:
    """A node with operands of the right kinds and nothing else right on purpose."""

    def __init__(self, key: tuple[str, int], number: int) -> None:
        self.rng = np.random.default_rng(zlib.crc32(f"{key} {number}".encode()))
        self.schema = self.pick(schemas(key))
        self.words = RULES[key].takes.split()

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in self.rng.integers(0, 4, int(self.rng.integers(0, 5))))

    def array(self, word: str, shape: tuple[int, ...]) -> np.ndarray:
        kinds = set("".join(LETTERS[letter] for letter in word.rstrip("!@?*").lower())) - {"t"}
        dtype = self.pick(TYPES[self.pick(sorted(kinds))])
        if dtype is np.bool_:
            return self.rng.random(shape) < 0.5
        values = np.asarray(
            self.rng.integers(0 if dtype in (np.uint8, np.uint64) else -3, 4, shape)
        )
        return values.astype(dtype) * (
            dtype(0.5) if dtype in (np.float32, np.float64) else dtype(1)
        )

    def attributes(self) -> dict[str, object]:
        kinds, found = OpSchema.AttrType, {}
        for name, attribute in self.schema.attributes.items():
            if not attribute.required and self.rng.random() < 0.6:
                continue
            small = self.rng.integers(-2, 5, int(self.rng.integers(1, 4)))
            values = {
                kinds.INT: int(self.rng.integers(-2, 8)),
                kinds.FLOAT: float(self.rng.normal()),
                kinds.STRING: self.pick(TEXTS),
                kinds.INTS: [int(n) for n in small],
                kinds.FLOATS: [float(n) for n in small],
                kinds.TENSOR: numpy_helper.from_array(np.arange(self.pick([1, 1, 2]))),
            }  # fmt: skip
            if attribute.type in values:
                found[name] = values[attribute.type]
        return found

    def model(self) -> tuple[onnx.ModelProto, list[np.ndarray]]:
        words = [*self.words]
        if words and words[-1].endswith("*"):
            words = [*words[:-1], *[words[-1].rstrip("*")] * int(self.rng.integers(1, 4))]
        common, alike = self.shape(), self.rng.random() < 0.9
        first: np.ndarray | None = None
        names, known, fed, infos = [], [], [], []
        for position, word in enumerate(words):
            if word.endswith("?") and self.rng.random() < 0.5:
                names.append("")
                continue
            array = self.array(word, common if self.rng.random() < 0.4 else self.shape())
            if word.isupper() and alike:
                first = array if first is None else first
                array = array.astype(first.dtype)
            names.append(f"x{position}")
            if self.rng.random() < 0.4:
                known.append(numpy_helper.from_array(array, names[-1]))
                continue
            fed.append(array)
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            infos.append(helper.make_tensor_value_info(names[-1], kind, array.shape))
        outputs = [f"y{i}" for i in range(max(1, self.schema.min_output))]
        node = helper.make_node(
            self.schema.name, names, outputs, domain=self.schema.domain, **self.attributes()
        )
        results = [helper.make_tensor_value_info(y, TensorProto.UNDEFINED, None) for y in outputs]
        graph = helper.make_graph([node], "any", infos, results, known)
        opsets = [helper.make_opsetid("", 21)]
        version = max(self.schema.since_version, OLDEST)
        opsets = [helper.make_opsetid(self.schema.domain, version)]
        if self.schema.domain:
            opsets.append(helper.make_opsetid("", 21))
        return helper.make_model(graph, opset_imports=opsets), fed


@pytest.mark.parametrize("key", sorted(RULES), ids=lambda key: f"{key[0]}-{key[1]}")
def test_a_rule_computes_or_refuses(key: tuple[str, int]) -> None:
    for number in range(CASES):
        model, fed = Draw(key, number).model()
        try:
            net = lm.onnx.load(model.SerializeToString(), folding_bytes=1 << 16)
            net(*fed)
        except NeedsValue as error:
            raise AssertionError(f"not decided: case {number}: {to_text(model)}") from error
        except (FormatError, UnsupportedError, ShapeError, DTypeError):
            continue
        except IndexError as error:
            # An index that a run has found out of range; in a rule it has a note.
            if hasattr(error, "__notes__"):
                raise AssertionError(f"case {number}: {to_text(model)}") from error
        except Exception as error:
            raise AssertionError(f"case {number}: {to_text(model)}") from error
