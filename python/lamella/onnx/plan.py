# SPDX-License-Identifier: Apache-2.0
"""From a ModelProto to a Plan: every node with its rule, functions expanded, constants as arrays.

A Plan is what a Model runs, and all that is pickled of the file. Whatever has no rule is collected
and raised as one UnsupportedError (refusals.py). Which initialisers can be learnt is decided here:
floating arrays with at least one axis that an operator computes with. Numbers (0-d), statistics of
normalisations and operands that rules want to know (bounds, sizes) are not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lamella.errors import FormatError, UnsupportedError, message
from lamella.ir.types import Array, Shape
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
from lamella.onnx.rules.call import Rule
from lamella.storage.source import quoted

__all__ = ["Entry", "Plan", "make_plan"]

OLDEST, NEWEST = 6, 28
_DOMAINS = {"": "", "ai.onnx": "", "ai.onnx.ml": "ai.onnx.ml"}


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A node with its rule; the rule is looked up again after unpickling."""

    name: str
    op: str
    domain: str
    version: int
    attributes: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    rule: Rule = field(repr=False)

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"{self.op} {quoted(self.name)}" if self.name else self.op

    def __reduce__(self) -> Any:
        return _entry, (
            self.name,
            self.op,
            self.domain,
            self.version,
            self.attributes,
            self.inputs,
            self.outputs,
        )


def _entry(
    name: str,
    op: str,
    domain: str,
    version: int,
    attributes: dict[str, Any],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
) -> Entry:
    rule = find(op, domain, version)
    if rule is None:
        raise UnsupportedError(message("onnx", "no rule", {"operator": f"{op}-{version}"}))
    return Entry(name, op, domain, version, attributes, inputs, outputs, rule)


class Plan:
    """The nodes in order, the known arrays, and the declared inputs and outputs.

    constants: arrays by value name; learnt, statistics: the names among them that become parameters
    and buffers; defaults: inputs that have a constant as their default; copies: constants that
    others were copied from, with the copies' names; last: the position of each value's last reader;
    folding_bytes: what known results may take; metadata: the file's own; fixed: shapes that inputs
    had before extents were freed; staged: set once a call could not run as one program.
    """

    __slots__ = (
        "constants",
        "copies",
        "defaults",
        "entries",
        "fixed",
        "folding_bytes",
        "inputs",
        "last",
        "learnt",
        "metadata",
        "name",
        "outputs",
        "staged",
        "statistics",
    )

    def __init__(
        self,
        name: str,
        entries: tuple[Entry, ...],
        constants: dict[str, Array],
        learnt: tuple[str, ...],
        statistics: tuple[str, ...],
        inputs: tuple[ValueInfo, ...],
        outputs: tuple[ValueInfo, ...],
        folding_bytes: int,
        defaults: tuple[ValueInfo, ...] = (),
        copies: dict[str, list[str]] | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.entries = entries
        self.constants = constants
        self.learnt = learnt
        self.statistics = statistics
        self.inputs = inputs
        self.outputs = outputs
        self.folding_bytes = folding_bytes
        self.defaults = defaults
        self.copies = copies or {}
        self.metadata = metadata or {}
        self.fixed: dict[str, tuple[int | str | None, ...]] = {}
        self.staged = False
        self.last: dict[str, int] = {}
        for position, entry in enumerate(entries):
            self.last.update((name, position) for name in entry.inputs)
        self.last.update((output.name, len(entries)) for output in outputs)

    def file_shape(self, name: str, shape: Shape) -> Shape:
        """The shape of an input with the extents that the file fixes, freed ones among them."""
        fixed = self.fixed.get(name, shape)
        pairs = zip(fixed, shape, strict=True)
        return tuple(want if isinstance(want, int) else have for want, have in pairs)


def make_plan(
    model: ModelProto, folder: str | None, folding_bytes: int, cure: str = BY_ARGUMENT
) -> Plan:
    """The plan of a model; folder: where external data may be, None to refuse them (see cure)."""
    graph = model.graph
    refusals = Refusals()
    _judge_graph(graph, refusals)
    opsets = _opsets(model.opsets, refusals)
    entries: list[Entry] = []
    bodies: list[tuple[GraphProto | FunctionProto, Mapping[str, int]]] = []
    for node, own in expand_functions(model):
        versions = opsets if own is None else _opsets(own, refusals)
        bodies.extend((body, versions) for body in graphs(node))
        entry = _resolve(node, versions, folder, refusals)
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
        inputs,
        graph.outputs,
        folding_bytes,
        defaults,
        copies,
        dict(model.metadata),
    )


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
            elif info.elem_type and tensors.stored_dtype(info.elem_type) is None:
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
        refusals.node(node, domain, version)
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
) -> Entry | None:
    domain, version, rule = _found(node, opsets, refusals)
    if rule is None:
        return None
    attributes: dict[str, Any] = {}
    for attribute in node.attributes:
        value = attribute.value
        first = value[0] if isinstance(value, tuple) and value else value
        if isinstance(first, GraphProto):
            why = f"with a graph as attribute {quoted(attribute.name)}"
            refusals.node(node, domain, version, why)
        elif isinstance(first, TensorProto) and first is not value:
            why = f"with tensors as attribute {quoted(attribute.name)}"
            refusals.node(node, domain, version, why)
        elif isinstance(value, TensorProto):
            if value.is_external and folder is None:
                refusals.external(value)
                continue
            try:
                # Copied, so that the plan does not keep the whole file alive.
                attributes[attribute.name] = _own(value, folder)
            except UnsupportedError as error:
                refusals.node(node, domain, version, f"({error})")
        else:
            attributes[attribute.name] = value.decode() if isinstance(value, Loose) else value
    refused = refusal(node.op_type, attributes)
    if refused:
        refusals.node(node, domain, version, refused)
    return Entry(
        node.name, node.op_type, domain, version, attributes, node.inputs, node.outputs, rule
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
            refusals.external(tensor)
            continue
        try:
            yield tensor.name, tensors.array(tensor, folder)
        except UnsupportedError as error:
            refusals.other(str(error))


def _check_order(entries: list[Entry], graph: GraphProto, known: set[str]) -> None:
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
    entries: list[Entry], constants: dict[str, Array], outputs: Iterable[ValueInfo]
) -> tuple[list[Entry], dict[str, list[str]]]:
    """The entries with statistics apart from the weights that are learnt, and who was copied.

    PyTorch's exporter writes equal arrays once, and Identity under the other names: the variance of
    a fresh normalisation is then its scale, and would be trained with it.
    """

    def renames(entry: Entry) -> bool:
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
    result: list[Entry] = []
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
    entries: list[Entry], constants: Mapping[str, Array]
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
