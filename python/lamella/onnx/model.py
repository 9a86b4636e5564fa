# SPDX-License-Identifier: Apache-2.0
"""An ONNX file as frozen dataclasses: what the messages of onnx.proto say, and nothing more.

`read` turns bytes into a ModelProto with the reader of wire.py; no rule about operators lives here.
Bytes of tensors stay views of the file. Documentation, training graphs and the types of
intermediate values are skipped: nothing here needs them.
Source: github.com/onnx/onnx, onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from lamella.ir.types import Array
from lamella.onnx.loose import Loose, floats, integers, texts
from lamella.onnx.wire import FIXED32, LENGTH, VARINT, Field, Reader, excess, fault, signed
from lamella.storage.source import quoted

__all__ = [
    "AttributeProto",
    "FunctionProto",
    "GraphProto",
    "ModelProto",
    "NodeProto",
    "TensorProto",
    "ValueInfo",
    "read",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class TensorProto:
    """An array as the file stores it; tensors.py makes a NumPy array of it."""

    name: str
    dims: tuple[int, ...]
    data_type: int
    raw: memoryview | None
    floats: Array
    ints: Array
    strings: tuple[bytes, ...]
    external: tuple[tuple[str, str], ...]
    is_external: bool


@dataclass(frozen=True, slots=True)
class ValueInfo:
    """A declared input or output: shape is None where unknown, an extent an int, a name or None.

    elem_type 0 with kind "tensor" is unknown; other kinds are sequences, maps and optionals.
    """

    name: str
    kind: str = "tensor"
    elem_type: int = 0
    shape: tuple[int | str | None, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AttributeProto:
    """A named argument of a node; value is a number, text (bytes), tensor, graph or a list.

    Long lists are Loose: bytes until they are decoded.
    """

    name: str
    value: Any
    reference: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class NodeProto:
    """One operator applied to named values."""

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[AttributeProto, ...]
    overload: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class GraphProto:
    """Nodes in topological order, their constants, and what comes in and out."""

    name: str
    nodes: tuple[NodeProto, ...]
    initializers: tuple[TensorProto, ...]
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]
    sparse: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class FunctionProto:
    """A function of the model: a graph with named attributes instead of constants."""

    name: str
    domain: str
    overload: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[str, ...]
    defaults: tuple[AttributeProto, ...]
    nodes: tuple[NodeProto, ...]
    opsets: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class ModelProto:
    """A whole file."""

    ir_version: int
    producer: str
    opsets: tuple[tuple[str, int], ...]
    graph: GraphProto
    functions: tuple[FunctionProto, ...]
    metadata: tuple[tuple[str, str], ...] = ()


# A text may take four times its bytes.
_METADATA = 32 << 20


def read(data: bytes | memoryview) -> ModelProto:
    """The model in `data`; FormatError when it is malformed."""
    view = memoryview(data).cast("B")
    reader = Reader(len(view))
    ir_version, producer, opsets = 0, "", []
    graph: GraphProto | None = None
    functions: list[FunctionProto] = []
    metadata: list[tuple[str, str]] = []
    room = _METADATA
    for field in reader.fields(view, "ModelProto", 0):
        number = field[0]
        if number == 1:
            ir_version = _int(field, "ModelProto.ir_version")
        elif number == 2:
            producer = _text(field, "ModelProto.producer_name")
        elif number == 8:
            opsets.append(_opset(reader, _view(field, "ModelProto.opset_import"), 1))
        elif number == 7:
            graph = _graph(reader, _view(field, "ModelProto.graph"), 1)
        elif number == 14:
            entry = _view(field, "ModelProto.metadata_props")
            room -= len(entry)
            if room < 0:
                raise excess("ModelProto.metadata_props", "bytes of metadata")
            metadata.append(_entry(reader, entry, 1))
        elif number == 25:
            functions.append(_function(reader, _view(field, "ModelProto.functions"), 1))
    if graph is None:
        raise fault("ModelProto", "holds no graph: this is no ONNX model")
    return ModelProto(ir_version, producer, tuple(opsets), graph, tuple(functions), tuple(metadata))


def _view(field: Field, what: str) -> memoryview:
    if field[1] != LENGTH or isinstance(field[2], int):
        raise fault(what, "not a field of bytes; its wire type is", field[1])
    return field[2]


def _int(field: Field, what: str) -> int:
    if field[1] != VARINT or not isinstance(field[2], int):
        raise fault(what, "not an integer; its wire type is", field[1])
    return signed(field[2])


def _number(field: Field, what: str) -> None:
    if field[1] != FIXED32:
        raise fault(what, "not a number of four bytes; its wire type is", field[1])


def _decode(view: memoryview, what: str) -> str:
    try:
        return str(view, "utf-8")
    except UnicodeDecodeError:
        raise fault(what, "a text that is not UTF-8") from None


def _text(field: Field, what: str) -> str:
    return _decode(_view(field, what), what)


def _opset(reader: Reader, view: memoryview, depth: int) -> tuple[str, int]:
    domain, version = "", 0
    for field in reader.fields(view, "OperatorSetIdProto", depth):
        if field[0] == 1:
            domain = _text(field, "OperatorSetIdProto.domain")
        elif field[0] == 2:
            version = _int(field, "OperatorSetIdProto.version")
    return domain, version


def _graph(reader: Reader, view: memoryview, depth: int) -> GraphProto:
    name, sparse = "", 0
    nodes: list[NodeProto] = []
    initializers: list[TensorProto] = []
    inputs: list[ValueInfo] = []
    outputs: list[ValueInfo] = []
    for field in reader.fields(view, "GraphProto", depth):
        number = field[0]
        if number == 1:
            nodes.append(_node(reader, _view(field, "GraphProto.node"), depth + 1))
        elif number == 5:
            initializers.append(_tensor(reader, _view(field, "GraphProto.initializer"), depth + 1))
        elif number == 11:
            inputs.append(_value_info(reader, _view(field, "GraphProto.input"), depth + 1))
        elif number == 12:
            outputs.append(_value_info(reader, _view(field, "GraphProto.output"), depth + 1))
        elif number == 2:
            name = _text(field, "GraphProto.name")
        elif number == 15:
            sparse += 1
    return GraphProto(
        name, tuple(nodes), tuple(initializers), tuple(inputs), tuple(outputs), sparse
    )


def _node(reader: Reader, view: memoryview, depth: int) -> NodeProto:
    name = op_type = domain = overload = ""
    inputs: list[str] = []
    outputs: list[str] = []
    attributes: list[AttributeProto] = []
    for field in reader.fields(view, "NodeProto", depth):
        number = field[0]
        if number == 1:
            inputs.append(_text(field, "NodeProto.input"))
        elif number == 2:
            outputs.append(_text(field, "NodeProto.output"))
        elif number == 3:
            name = _text(field, "NodeProto.name")
        elif number == 4:
            op_type = _text(field, "NodeProto.op_type")
        elif number == 7:
            domain = _text(field, "NodeProto.domain")
        elif number == 8:
            overload = _text(field, "NodeProto.overload")
        elif number == 5:
            attributes.append(_attribute(reader, _view(field, "NodeProto.attribute"), depth + 1))
    return NodeProto(
        name, op_type, domain, tuple(inputs), tuple(outputs), tuple(attributes), overload
    )


def _attribute(reader: Reader, view: memoryview, depth: int) -> AttributeProto:
    """An attribute; the field that is filled decides, and `type` where several could be meant."""
    name = reference = ""
    kind = 0
    single: dict[int, Any] = {}
    lists: dict[int, Any] = {}
    for field in reader.fields(view, "AttributeProto", depth, _LISTS):
        number = field[0]
        what = "AttributeProto"
        if number == 1:
            name = _text(field, what)
        elif number == 21:
            reference = _text(field, what)
        elif number == 20:
            kind = _int(field, what)
        elif number == 2:
            _number(field, what)
            single[1] = float(floats(reader, [field], what, False)[0])
        elif number == 3:
            single[2] = _int(field, what)
        elif number == 4:
            single[3] = bytes(_view(field, what))
        elif number == 5:
            single[4] = _tensor(reader, _view(field, what), depth + 1)
        elif number == 6:
            single[5] = _graph(reader, _view(field, what), depth + 1)
        elif number in _LISTS:
            parts = lists.setdefault(number - 1, [])
            if len(parts) >= _PARTS:
                # No writer leaves other fields between the numbers of a list.
                reader.spend(16, what)
            parts.append(field)
        elif number == 10:
            lists.setdefault(9, []).append(_tensor(reader, _view(field, what), depth + 1))
        elif number == 11:
            lists.setdefault(10, []).append(_graph(reader, _view(field, what), depth + 1))
        elif number in (14, 15, 22, 23):
            single[number] = _Other(number)
    for list_kind, parts in lists.items():
        if list_kind <= 8:
            loose = Loose(reader, list_kind, tuple(parts))
            size = sum(len(value) for _, _, value in parts if not isinstance(value, int))
            lists[list_kind] = loose if size > _EAGER else loose.decode()
    return AttributeProto(name, _chosen(name, kind, single, lists), reference)


@dataclass(frozen=True, slots=True)
class _Other:
    """A sparse tensor or a type as an attribute: no rule takes one."""

    number: int


# Fields of floats, ints and strings; as types of attributes their numbers are one less.
_LISTS = frozenset((7, 8, 9))
# Lists of so many parts are free, and lists of at most so many bytes are decoded at once.
_PARTS, _EAGER = 8, 4096
_DEFAULTS: dict[int, Any] = {1: 0.0, 2: 0, 3: b""}


def _chosen(name: str, kind: int, single: dict[int, Any], lists: dict[int, Any]) -> Any:
    if 6 <= kind <= 10:
        return _frozen(lists.get(kind, ()))
    if kind in _DEFAULTS:
        return single.get(kind, _DEFAULTS[kind])
    if kind in single:
        return single[kind]
    if kind == 0:
        # Files of IR version 1 may leave the type out.
        for items in lists.values():
            return _frozen(items)
        for value in single.values():
            return value
        return None
    if kind in (4, 5):
        raise fault(f"AttributeProto {quoted(name)}", "its type promises a value that is not there")
    return _Other(kind)


def _frozen(items: Any) -> Any:
    return tuple(items) if isinstance(items, list) else items


def _tensor(reader: Reader, view: memoryview, depth: int) -> TensorProto:
    name, what = "", "TensorProto"
    data_type = location = 0
    dims: list[int] = []
    raw: memoryview | None = None
    lists: dict[int, list[Field]] = {}
    external: list[tuple[str, str]] = []
    for field in reader.fields(view, "TensorProto", depth, _ELEMENTS):
        number = field[0]
        if number == 1:
            one = isinstance(field[2], int) and field[1] == VARINT
            dims.extend([_int(field, what)] if one else integers(reader, [field], what).tolist())
        elif number == 2:
            data_type = _int(field, what)
        elif number == 3:
            raise fault(what, "a segment of a tensor, which nobody writes")
        elif number in _ELEMENTS:
            parts = lists.setdefault(number, [])
            if len(parts) >= _PARTS:
                reader.spend(16, what)
            parts.append(field)
        elif number == 8:
            name = _text(field, what)
        elif number == 9:
            raw = _view(field, what)
        elif number == 13:
            external.append(_entry(reader, _view(field, what), depth + 1))
        elif number == 14:
            location = _int(field, what)
    numbers = [floats(reader, lists.get(n, ()), what, n == 10) for n in (4, 10)]
    return TensorProto(
        name,
        tuple(dims),
        data_type,
        raw,
        np.concatenate(numbers) if numbers[0].size and numbers[1].size else max(numbers, key=len),
        integers(reader, [part for n in (5, 7, 11) for part in lists.get(n, ())], what),
        texts(reader, lists.get(6, ()), what),
        tuple(external),
        location == 1,
    )


def _entry(reader: Reader, view: memoryview, depth: int) -> tuple[str, str]:
    key = value = ""
    for field in reader.fields(view, "StringStringEntryProto", depth):
        if field[0] == 1:
            key = _text(field, "StringStringEntryProto.key")
        elif field[0] == 2:
            value = _text(field, "StringStringEntryProto.value")
    return key, value


# Fields of a tensor that hold elements: float, int32, string, int64, double, uint64.
_ELEMENTS = frozenset((4, 5, 6, 7, 10, 11))

_KINDS = {4: "sequence", 5: "map", 7: "opaque", 8: "sparse tensor", 9: "optional"}


def _value_info(reader: Reader, view: memoryview, depth: int) -> ValueInfo:
    name, info = "", ValueInfo("")
    for field in reader.fields(view, "ValueInfoProto", depth):
        if field[0] == 1:
            name = _text(field, "ValueInfoProto.name")
        elif field[0] == 2:
            info = _type(reader, _view(field, "ValueInfoProto.type"), depth + 1)
    return ValueInfo(name, info.kind, info.elem_type, info.shape)


def _type(reader: Reader, view: memoryview, depth: int) -> ValueInfo:
    info = ValueInfo("")
    for outer in reader.fields(view, "TypeProto", depth):
        number = outer[0]
        if number in _KINDS:
            info = ValueInfo("", _KINDS[number])
        elif number == 1:
            elem_type, shape = 0, None
            inner = _view(outer, "TypeProto.tensor_type")
            for field in reader.fields(inner, "TypeProto.Tensor", depth + 1):
                if field[0] == 1:
                    elem_type = _int(field, "TypeProto.Tensor.elem_type")
                elif field[0] == 2:
                    shape = _shape(reader, _view(field, "TypeProto.Tensor.shape"), depth + 2)
            info = ValueInfo("", "tensor", elem_type, shape)
    return info


def _shape(reader: Reader, view: memoryview, depth: int) -> tuple[int | str | None, ...]:
    extents: list[int | str | None] = []
    for field in reader.fields(view, "TensorShapeProto", depth):
        if field[0] == 1:
            extent: int | str | None = None
            dim = _view(field, "TensorShapeProto.dim")
            for inner in reader.fields(dim, "TensorShapeProto.Dimension", depth + 1):
                if inner[0] == 1:
                    extent = _int(inner, "TensorShapeProto.Dimension.dim_value")
                elif inner[0] == 2:
                    extent = _text(inner, "TensorShapeProto.Dimension.dim_param") or None
            extents.append(extent)
    return tuple(extents)


def _collect(
    reader: Reader,
    field: Field,
    depth: int,
    into: list[T],
    make: Callable[[Reader, memoryview, int], T],
) -> None:
    into.append(make(reader, _view(field, "FunctionProto"), depth + 1))


def _function(reader: Reader, view: memoryview, depth: int) -> FunctionProto:
    texts: dict[int, list[str]] = {1: [], 4: [], 5: [], 6: [], 10: [], 13: []}
    defaults: list[AttributeProto] = []
    nodes: list[NodeProto] = []
    opsets: list[tuple[str, int]] = []
    for field in reader.fields(view, "FunctionProto", depth):
        number = field[0]
        if number in texts:
            texts[number].append(_text(field, "FunctionProto"))
        elif number == 11:
            _collect(reader, field, depth, defaults, _attribute)
        elif number == 7:
            _collect(reader, field, depth, nodes, _node)
        elif number == 9:
            _collect(reader, field, depth, opsets, _opset)

    def last(number: int) -> str:
        return texts[number][-1] if texts[number] else ""

    return FunctionProto(
        last(1),
        last(10),
        last(13),
        tuple(texts[4]),
        tuple(texts[5]),
        tuple(texts[6]),
        tuple(defaults),
        tuple(nodes),
        tuple(opsets),
    )
