# SPDX-License-Identifier: Apache-2.0
"""From a ModelProto to a Plan: every node with its rule, functions expanded, constants as arrays.

Whatever has no rule is collected and raised as one UnsupportedError (refusals.py). Which
initialisers can be learnt is decided here: floating arrays with at least one axis that an operator
computes with. Numbers (0-d), statistics of normalisations and operands that rules want to know
(bounds, sizes) are not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lamella.errors import FormatError, UnsupportedError, message
from lamella.foreign.call import Allowance
from lamella.foreign.plan import Entry, Plan, TensorInfo
from lamella.foreign.rule import Rule
from lamella.ir.types import Array
from lamella.onnx import tensors
from lamella.onnx.expand import expand_functions
from lamella.onnx.loose import Loose
from lamella.onnx.model import (
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfo,
)
from lamella.onnx.refusals import BY_ARGUMENT, Refusals, graphs
from lamella.onnx.rules import KNOWN_OPERANDS, STATISTICS, find, refusal
from lamella.onnx.rules.call import Call
from lamella.onnx.small import SMALL, is_whole
from lamella.storage.source import quoted

__all__ = ["Node", "make_plan"]

OLDEST, NEWEST = 6, 28
_DOMAINS = {"": "", "ai.onnx": "", "ai.onnx.ml": "ai.onnx.ml"}
# Operators whose results have the element type that an attribute names, or has.
_TYPED = {
    "BitCast": "to",
    "Cast": "to",
    "ConstantOfShape": "value",
    "EyeLike": "dtype",
    "QuantizeLinear": "output_dtype",
}
# Operators whose rules keep free extents among known integers: shapes computed from shapes.
_KEEPING = frozenset((
    "Add", "Cast", "Concat", "Div", "Equal", "Expand", "Flatten", "Gather", "Greater",
    "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Pad",
    "ReduceProd", "ReduceSum", "Reshape", "Shape", "Size", "Slice", "Split", "Squeeze", "Sub",
    "Tile", "Transpose", "Unsqueeze", "Where",
))  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Node(Entry):
    """A node of the file; the rule is looked up again after unpickling."""

    domain: str
    version: int
    attributes: dict[str, Any]

    @property
    def keeps_sizes(self) -> bool:
        """Whether the rule keeps free extents among known integers: shapes made of shapes."""
        if self.op == "Cast":
            return self.attributes.get("to") in (tensors.INT64, tensors.INT32)
        return self.op in _KEEPING and not self.attributes.get("fmod")

    def elements(self, operands: Sequence[np.dtype[Any] | None]) -> list[np.dtype[Any] | None]:
        """The element types of the outputs; of some operators an attribute says it."""
        if self.op == "Constant":
            whole = {"value_int", "value_ints"} & self.attributes.keys()
            value = self.attributes.get("value")
            return [np.dtype(np.int64) if whole else getattr(value, "dtype", None)]
        given = self.attributes.get(_TYPED.get(self.op, ""))
        if isinstance(given, int) and given in tensors.DTYPES:
            return [tensors.dtype(given)]
        if isinstance(given, np.ndarray):
            return [given.dtype]
        # Named in full: a class with slots is made anew, and super() knows the first.
        return Entry.elements(self, operands)

    def place(self, title: str) -> str:
        """The module, where exporters say so: `fc1/Gemm`, `/act/Relu_1`."""
        above, _, last = title.rpartition("/")
        return above if above and last.rstrip("0123456789").rstrip("_") == self.op else title

    def call(self, operands: Sequence[Any], allowance: Allowance, training: bool) -> Call:
        """Its attributes and version, beside the operands."""
        outputs = len(self.outputs)
        return Call(self.op, self.version, self.attributes, outputs, operands, allowance, training)

    def __reduce__(self) -> Any:
        return _node, (
            self.name,
            self.op,
            self.inputs,
            self.outputs,
            self.domain,
            self.version,
            self.attributes,
        )


def _node(
    name: str,
    op: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    domain: str,
    version: int,
    attributes: dict[str, Any],
) -> Node:
    rule = find(op, domain, version)
    if rule is None:
        raise UnsupportedError(message("onnx", "no rule", {"operator": f"{op}-{version}"}))
    return Node(name, op, inputs, outputs, rule, domain, version, attributes)


def make_plan(
    model: ModelProto, folder: str | None, folding_bytes: int, cure: str = BY_ARGUMENT
) -> Plan:
    """The plan of a model; folder: where external data may be, None to refuse them (see cure)."""
    graph = model.graph
    refusals = Refusals()
    _judge_graph(graph, refusals)
    opsets = _opsets(model.opsets, refusals)
    small = SmallTypes(graph)
    entries: list[Node] = []
    bodies: list[tuple[GraphProto | FunctionProto, Mapping[str, int]]] = []
    for node, own in expand_functions(model):
        versions = opsets if own is None else _opsets(own, refusals)
        bodies.extend((body, versions) for body in graphs(node))
        entry = _resolve(node, versions, folder, refusals)
        entry = entry and small.judged(entry, refusals)
        if entry is not None:
            entries.append(entry)
    _judge_bodies(model, bodies, refusals)
    needed = {name for entry in entries for name in entry.inputs}
    needed.update(output.name for output in graph.outputs)
    constants = dict(_constants(graph.initializers, needed, folder, refusals))
    refusals.judge(cure)
    # An initialiser that nothing reads is no input that has to be given.
    initialized = {tensor.name for tensor in graph.initializers}
    inputs = tuple(info for info in graph.inputs if info.name not in initialized)
    defaults = tuple(info for info in graph.inputs if info.name in constants)
    _check_order(entries, graph, {*constants, *(info.name for info in inputs)})
    entries, copies = _own_statistics(entries, constants, graph.outputs)
    learnt, statistics = _stored(entries, constants)
    return Plan(
        graph.name,
        tuple(entries),
        constants,
        learnt,
        statistics,
        tuple(map(_declared, inputs)),
        tuple(map(_declared, graph.outputs)),
        folding_bytes,
        tuple(map(_declared, defaults)),
        copies,
        dict(model.metadata),
    )


class SmallTypes:
    """Which values are of the types that lie in few bits (small.py), node by node."""

    def __init__(self, graph: GraphProto) -> None:
        self._types: dict[str, int] = {
            tensor.name: tensor.data_type for tensor in graph.initializers
            if tensor.data_type in SMALL
        }  # fmt: skip
        self._types.update(
            (info.name, info.elem_type) for info in graph.inputs if info.elem_type in SMALL
        )

    def judged(self, entry: Node, refusals: Refusals) -> Node:
        """A node as it can be computed; refused where its rule would take it for another type."""
        given = [self._types.get(name) for name in entry.inputs]
        if entry.op == "CastLike" and len(given) > 1 and given[1] is not None:
            cast = find("Cast", "", entry.version)
            assert cast is not None
            if not is_whole(given[1]):
                self._refuse(entry, refusals, f"to {tensors.type_name(given[1])}")
            attributes = {"to": given[1]}
            entry = replace(entry, op="Cast", inputs=entry.inputs[:1], rule=cast,
                            attributes=attributes)  # fmt: skip
        if entry.op == "Cast" and entry.attributes.get("to") in SMALL:
            self._types[entry.outputs[0]] = entry.attributes["to"]
            return entry
        first = given[0] if given else None
        if entry.rule.moves and first is not None:
            self._types.update((name, first) for name in entry.outputs)
            if all(one in (None, first) for one in given):
                return entry
        whole = entry.op == "DequantizeLinear" and all(
            one is None or is_whole(one) for one in given
        )
        found = next((one for one in given if one is not None), None)
        if found is not None and not whole and entry.op not in ("Cast", "CastLike"):
            self._refuse(entry, refusals, f"on {tensors.type_name(found)}")
        return entry

    def _refuse(self, entry: Node, refusals: Refusals, why: str) -> None:
        node = NodeProto(entry.name, entry.op, entry.domain, entry.inputs, entry.outputs, ())
        refusals.operator(node, entry.domain, entry.version, why)


def _declared(info: ValueInfo) -> TensorInfo:
    dtype = tensors.dtype(info.elem_type) if info.elem_type else None
    return TensorInfo(info.name, dtype, info.shape)


def _judge_graph(graph: GraphProto, refusals: Refusals) -> None:
    if graph.sparse:
        refusals.other(f"{graph.sparse} sparse initializers")
    initialized = {tensor.name for tensor in graph.initializers}
    for kind, infos in (("input", graph.inputs), ("output", graph.outputs)):
        for info in infos:
            if kind == "input" and info.name in initialized:
                continue
            if info.kind != "tensor":
                refusals.other(f"{kind} {quoted(info.name)} is a {info.kind}")
            elif info.elem_type and not tensors.is_known(info.elem_type):
                name = tensors.type_name(info.elem_type)
                refusals.other(f"{kind} {quoted(info.name)} of type {name}")


def _opsets(pairs: Iterable[tuple[str, int]], refusals: Refusals) -> dict[str, int]:
    opsets: dict[str, int] = {}
    for domain, version in pairs:
        opsets[_DOMAINS.get(domain, domain)] = version
        if domain in ("", "ai.onnx") and not OLDEST <= version <= NEWEST:
            refusals.other(f"opset {version} (known: {OLDEST} to {NEWEST})")
    return opsets


def _found(
    node: NodeProto, opsets: Mapping[str, int], refusals: Refusals
) -> tuple[str, int, Rule | None]:
    """The domain, version and rule of a node; a node without a rule is refused."""
    domain = _DOMAINS.get(node.domain, node.domain)
    version = opsets.get(domain, 1)
    if not domain and domain not in opsets:
        refusals.other("no opset of the main domain, which means opset 1")
    rule = find(node.op_type, domain, version)
    if rule is None:
        refusals.operator(node, domain, version)
    return domain, version, rule


def _judge_bodies(
    model: ModelProto,
    bodies: list[tuple[GraphProto | FunctionProto, Mapping[str, int]]],
    refusals: Refusals,
) -> None:
    """Refuses what has no rule in graphs of attributes, and in the functions that they call."""
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    called: set[int] = set()
    while bodies:
        body, opsets = bodies.pop()
        for node in body.nodes:
            function = functions.get((node.domain, node.op_type, node.overload))
            if function is None:
                _found(node, opsets, refusals)
                bodies.extend((inner, opsets) for inner in graphs(node))
            elif id(function) not in called:
                called.add(id(function))
                bodies.append((function, _opsets(function.opsets, refusals)))


def _resolve(
    node: NodeProto, opsets: Mapping[str, int], folder: str | None, refusals: Refusals
) -> Node | None:
    domain, version, rule = _found(node, opsets, refusals)
    if rule is None:
        return None
    attributes: dict[str, Any] = {}
    for attribute in node.attributes:
        value = attribute.value
        first = value[0] if isinstance(value, tuple) and value else value
        if isinstance(first, GraphProto):
            why = f"with a graph as attribute {quoted(attribute.name)}"
            refusals.operator(node, domain, version, why)
        elif isinstance(first, TensorProto) and first is not value:
            why = f"with tensors as attribute {quoted(attribute.name)}"
            refusals.operator(node, domain, version, why)
        elif isinstance(value, TensorProto):
            if value.is_external and folder is None:
                refusals.tensor(value)
                continue
            try:
                # Copied, so that the plan does not keep the whole file alive.
                attributes[attribute.name] = _own(value, folder)
            except UnsupportedError as error:
                refusals.operator(node, domain, version, f"({error})")
        else:
            attributes[attribute.name] = value.decode() if isinstance(value, Loose) else value
    refused = refusal(node.op_type, attributes)
    if refused:
        refusals.operator(node, domain, version, refused)
    return Node(
        node.name, node.op_type, node.inputs, node.outputs, rule, domain, version, attributes
    )


def _own(tensor: TensorProto, folder: str | None) -> Array:
    array = np.array(tensors.array(tensor, folder))
    array.flags.writeable = False
    return array


def _constants(
    initializers: Iterable[TensorProto],
    needed: set[str],
    folder: str | None,
    refusals: Refusals,
) -> Iterable[tuple[str, Array]]:
    for tensor in initializers:
        if tensor.name not in needed:
            continue
        if tensor.is_external and folder is None:
            refusals.tensor(tensor)
            continue
        try:
            yield tensor.name, tensors.array(tensor, folder)
        except UnsupportedError as error:
            refusals.other(str(error))


def _check_order(entries: list[Node], graph: GraphProto, known: set[str]) -> None:
    """Every value is made once and before it is read."""
    for entry in entries:
        for name in entry.inputs:
            if name and name not in known:
                raise FormatError(
                    message("onnx.load", f"{entry.label} reads what nothing before it makes",
                            {"value": quoted(name)})
                )  # fmt: skip
        for name in entry.outputs:
            if name and name in known:
                raise FormatError(
                    message("onnx.load", "a value is made twice", {"value": quoted(name)})
                )
            known.add(name)
    names = Counter(info.name for info in graph.inputs)
    twice = [name for name, count in names.items() if count > 1]
    # "" is how a node leaves a value out: no output has that name.
    missing = [info.name for info in graph.outputs if info.name not in known or not info.name]
    if missing or twice or not graph.outputs:
        raise FormatError(
            message(
                "onnx.load",
                "inputs or outputs do not fit the nodes",
                {"outputs nobody makes": _listed(missing), "inputs named twice": _listed(twice)},
                "at least one output, each made by a node, and inputs of different names",
            )
        )


def _listed(names: list[str]) -> str:
    return f"[{', '.join(map(quoted, names[:8]))}{', ...' if len(names) > 8 else ''}]"


def _own_statistics(
    entries: list[Node], constants: dict[str, Array], outputs: Iterable[ValueInfo]
) -> tuple[list[Node], dict[str, list[str]]]:
    """The entries with statistics apart from the weights that are learnt, and who was copied.

    PyTorch's exporter writes equal arrays once, and Identity under the other names: the variance of
    a fresh normalisation is then its scale, and would be trained with it.
    """

    def renames(entry: Node) -> bool:
        one = entry.op == "Identity" and len(entry.inputs) == len(entry.outputs) == 1
        return one and entry.inputs[0] in source and bool(entry.outputs[0])

    source = {name: name for name in constants}
    learnt = {output.name for output in outputs}
    statistics: set[str] = set()
    for entry in entries:
        if renames(entry):
            source[entry.outputs[0]] = source[entry.inputs[0]]
            continue
        apart = STATISTICS.get(entry.op, ())
        for position, name in enumerate(entry.inputs):
            if name in source:
                (statistics if position in apart else learnt).add(name)
    made = {*constants, *(name for entry in entries for name in entry.outputs)}
    roots = {source[name] for name in learnt if name in source}
    own: dict[str, str] = {}
    copies: dict[str, list[str]] = {}
    for name in sorted(statistics):
        if source[name] in roots:
            own[name] = name
            if name in constants or name in learnt:
                own[name] += "_statistic"
                while own[name] in made:
                    own[name] += "_"
            constants[own[name]] = constants[source[name]]
            copies.setdefault(source[name], []).append(own[name])
    result: list[Node] = []
    for entry in entries:
        if renames(entry) and own.get(entry.outputs[0]) == entry.outputs[0]:
            continue
        operands = list(entry.inputs)
        for position in STATISTICS.get(entry.op, ()):
            if position < len(operands):
                operands[position] = own.get(operands[position], operands[position])
        changed = operands != list(entry.inputs)
        result.append(replace(entry, inputs=tuple(operands)) if changed else entry)
    return result, copies


def _stored(
    entries: list[Node], constants: Mapping[str, Array]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    computed: dict[str, None] = {}
    known: set[str] = set()
    statistics: dict[str, None] = {}
    for entry in entries:
        for position, name in enumerate(entry.inputs):
            if name not in constants:
                continue
            # The second: batch normalisation written as arithmetic, as `save` does.
            statistic = position in STATISTICS.get(entry.op, ())
            if statistic or name.endswith(("running_mean", "running_var")):
                statistics[name] = None
            elif position in KNOWN_OPERANDS.get(entry.op, ()):
                known.add(name)
            else:
                computed[name] = None

    def stores(name: str) -> bool:
        return constants[name].dtype.kind == "f" and constants[name].ndim > 0 and name not in known

    learnt = tuple(name for name in computed if stores(name) and name not in statistics)
    return learnt, tuple(name for name in statistics if stores(name))
