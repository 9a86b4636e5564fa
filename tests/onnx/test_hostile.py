# SPDX-License-Identifier: Apache-2.0
"""Hostile files: one test for each failure of other readers, and a replay of mutated models.

Whatever the bytes, load raises FormatError or UnsupportedError, soon and within little memory; a
model that loads answers a call or raises one of lamella's errors.
"""

from __future__ import annotations

import os
import resource
import tracemalloc

import numpy as np
import pytest

import lamella as lm
from fuzz.mutator import varint
from handmade import external, field, info, model, node
from lamella import nn
from lamella.errors import DTypeError, FormatError, ShapeError, UnsupportedError
from lamella.onnx import encoding
from lamella.onnx.model import read

ERRORS = (FormatError, UnsupportedError, ShapeError, DTypeError)


RELU = model(node("Relu", ["x"], ["y"]))


# The wire format.


def test_a_minimal_model_is_read() -> None:
    np.testing.assert_array_equal(lm.onnx.load(RELU)(np.float32([-1, 2])), [0, 2])


@pytest.mark.parametrize(
    "data",
    {
        "empty": b"",
        "text": b"not a model at all",
        "zero field": b"\x00\x00",
        "group": b"\x0b\x0c",
        "truncated length": b"\x3a",
        "length beyond the end": b"\x3a\xff\xff\xff\xff\x0f",
        "length of 2**63": b"\x3a" + varint(1 << 63),
        "varint of eleven bytes": b"\x08" + b"\xff" * 10 + b"\x01",
        "varint beyond 64 bits": b"\x08" + b"\xff" * 9 + b"\x7f",
        "truncated fixed": b"\x0d\x00",
        "wire type 7": b"\x0f",
        "graph is a number": b"\x38\x01",
        "name is no utf-8": model(field(1, b"\xff\xfe")),
    }.items(),
    ids=lambda item: item[0],
)
def test_malformed_bytes(data) -> None:
    with pytest.raises(FormatError):
        lm.onnx.load(data[1])


def test_unknown_fields_are_skipped() -> None:
    odd = field(1000, b"anything") + field(2000, 7) + varint(3000 << 3 | 5) + b"abcd"
    assert lm.onnx.load(RELU + odd).input_names == ("x",)


def test_every_truncation_is_refused_or_whole() -> None:
    data = lm.onnx.encode(nn.Linear(3, 2), np.zeros((1, 3), np.float32))
    for end in range(len(data)):
        with pytest.raises(ERRORS):
            lm.onnx.load(data[:end])(np.zeros((1, 3), np.float32))


# Recursion and expansion: GHSA-7w46-vvrh-m8q5.


def test_nested_graphs_end() -> None:
    body = b""
    for _ in range(200):
        body = field(1, node("If", ["x"], ["y"], field(1, b"then_branch") + field(20, 5)
                             + field(6, body)))  # fmt: skip
    with pytest.raises(FormatError, match="nested more than"):
        lm.onnx.load(field(1, 10) + field(7, body))


def function(name: str, *nodes: bytes) -> bytes:
    head = field(1, name.encode()) + field(4, b"a") + field(5, b"b") + field(10, b"f")
    return field(25, head + b"".join(field(7, one) for one in nodes) + field(9, field(2, 20)))


def test_a_function_that_calls_itself_is_refused() -> None:
    loop = function("loop", node("loop", ["a"], ["b"], domain="f"))
    with pytest.raises(FormatError, match="call themselves"):
        lm.onnx.load(model(node("loop", ["x"], ["y"], domain="f"), extra=loop))


def test_functions_that_double_are_refused() -> None:
    extra = function("f0", node("Relu", ["a"], ["b"]))
    for i in range(1, 60):
        twice = [node(f"f{i - 1}", [a], [b], domain="f") for a, b in (("a", "t"), ("t", "b"))]
        extra += function(f"f{i}", *twice)
    with pytest.raises(UnsupportedError, match="too many nodes"):
        lm.onnx.load(model(node("f59", ["x"], ["y"], domain="f"), extra=extra))


# Sizes: onnx PR 8109 (raw data), CVE-2026-34445 (lengths), folding at load.


@pytest.mark.parametrize(
    ("dims", "raw"),
    [((2,), b"\0" * 7), ((2,), b"\0" * 9), ((1 << 40,), b"\0" * 4), ((-1,), b""), ((3,), b"")],
)
def test_raw_data_must_fit_the_shape(dims, raw) -> None:
    parts = b"".join(field(1, n) for n in dims) + field(2, 1) + field(8, b"w") + field(9, raw)
    with pytest.raises(FormatError):
        lm.onnx.load(model(node("Add", ["x", "w"], ["y"]), initializers=[parts]))


def test_products_of_extents_that_overflow() -> None:
    parts = field(1, 1 << 32) * 2 + field(2, 1) + field(8, b"w") + field(9, b"")
    with pytest.raises(FormatError, match="no such shape"):
        lm.onnx.load(model(node("Add", ["x", "w"], ["y"]), initializers=[parts]))


def test_an_empty_tensor_of_huge_extents() -> None:
    parts = field(1, 0) + field(1, 1 << 62) + field(2, 1) + field(8, b"w") + field(9, b"")
    with pytest.raises(FormatError, match="no such shape"):
        lm.onnx.load(model(node("Add", ["x", "w"], ["y"]), initializers=[parts]))


def ints(name: str, *values: int) -> bytes:
    data = np.array(values, np.int64)
    return encoding.tensor(name, data)


@pytest.mark.parametrize(
    ("op", "inputs", "constants"),
    [
        ("ConstantOfShape", ["s"], [ints("s", 1 << 20, 1 << 20)]),
        ("Range", ["a", "b", "c"],
         [encoding.tensor(n, np.array(v, np.int64)) for n, v in zip("abc", (0, 1 << 60, 1),
                                                                     strict=True)]),
        ("Expand", ["v", "s"], [ints("v", 1), ints("s", 1 << 31)]),
        ("Tile", ["v", "s"], [ints("v", 1), ints("s", 1 << 40)]),
        ("Pad", ["v", "s"], [ints("v", 1), ints("s", 1 << 40, 0)]),
        ("Gather", ["v", "s"], [encoding.tensor("v", np.zeros((1, 1 << 16), np.int64)),
                                encoding.tensor("s", np.zeros(1 << 12, np.int64))]),
        ("OneHot", ["i", "d", "v"], [ints("i", 0), ints("d", 1 << 40), ints("v", 0, 1)]),
        ("Add", ["v", "w"], [encoding.tensor("v", np.zeros((1, 1 << 16), np.int64)),
                             encoding.tensor("w", np.zeros((1 << 16, 1), np.int64))]),
        ("MatMul", ["v", "w"], [encoding.tensor("v", np.zeros((1 << 16, 1), np.int64)),
                                encoding.tensor("w", np.zeros((1, 1 << 16), np.int64))]),
    ],
)  # fmt: skip
def test_known_results_stay_within_their_allowance(op, inputs, constants) -> None:
    extra = encoding.tensor("value", np.zeros(1, np.float32))
    attributes = [field(1, b"value") + field(20, 4) + field(5, extra)]
    one = node(op, inputs, ["big"], *(attributes if op == "ConstantOfShape" else ()))
    net = lm.onnx.load(model(one, node("Size", ["big"], ["y"]), initializers=constants, inputs=()))
    tracemalloc.start()
    try:
        with pytest.raises(UnsupportedError, match="folding_bytes"):
            net()
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_many_small_results_share_the_allowance() -> None:
    nodes = [node("Concat", [f"v{i}"] * 2, [f"v{i + 1}"], field(1, b"axis") + field(20, 2))
             for i in range(60)]  # fmt: skip
    net = lm.onnx.load(model(*nodes, node("Size", ["v60"], ["y"]), initializers=[ints("v0", 1, 2)],
                             inputs=()))  # fmt: skip
    with pytest.raises(UnsupportedError, match="folding_bytes"):
        net()


@pytest.mark.parametrize("unit", [field(5, b""), field(99, 0), field(1, node("Relu", [], []))])
def test_floods_of_small_messages_end(unit) -> None:
    data = field(1, 10) + field(7, unit * (4_000_000 // len(unit)))
    tracemalloc.start()
    try:
        with pytest.raises(UnsupportedError, match="than a model of this size has"):
            lm.onnx.load(data)
        # Three times the file and 64 MiB.
        assert tracemalloc.get_traced_memory()[1] < 3 * len(data) + (64 << 20)
    finally:
        tracemalloc.stop()


def test_floods_of_numbers_end() -> None:
    tensor = field(2, 7) + field(8, b"w") + field(7, b"\0" * 4_000_000)
    with pytest.raises(UnsupportedError, match="more numbers"):
        lm.onnx.load(model(node("Relu", ["w"], ["y"]), initializers=[tensor]))


@pytest.mark.parametrize(
    ("number", "unit", "rule"),
    [
        (8, b"\xff" * 10 + b"\1", "ten bytes"),
        (8, b"\xff" * 9 + b"\2", "64 bits"),
        (8, b"\x80", "ends within"),
        (7, b"\0\0\0", "ends within"),
    ],
)
@pytest.mark.parametrize("count", [1, 3000])
def test_lists_of_broken_numbers(number: int, unit: bytes, rule: str, count: int) -> None:
    """A long list is decoded when its rule wants it, and then judged as a short one."""
    kind, name = {8: (7, b"value_ints"), 7: (6, b"value_floats")}[number]
    whole = b"\1\0\0\0" * 3000 if number == 7 else b"\1" * 3000
    packed = field(number, (whole if count > 1 else b"") + unit)
    data = model(node("Constant", [], ["y"], field(1, name) + packed + field(20, kind)))
    with pytest.raises(FormatError, match=rule):
        lm.onnx.load(data)


# External data: CVE-2022-25882, -2024-27318, -2026-27489, -2026-34445 to -34447.


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "model"
    inside.mkdir()
    (tmp_path / "secret").write_bytes(np.float32([5, 6]).tobytes())
    (inside / "data").write_bytes(np.float32([1, 2, 3, 4]).tobytes())
    (inside / "link").symlink_to(tmp_path / "secret")
    (inside / "up").symlink_to(tmp_path)
    os.link(tmp_path / "secret", inside / "hard")
    os.mkfifo(inside / "pipe")
    return inside


def test_external_data_are_off_by_default(folder) -> None:
    path = folder / "net.onnx"
    path.write_bytes(external(("location", "data"), ("offset", "4"), ("length", "8")))
    with pytest.raises(UnsupportedError, match="external_data=True"):
        lm.onnx.load(path)
    net = lm.onnx.load(path, external_data=True)
    np.testing.assert_array_equal(net(np.zeros(2, np.float32)), [2, 3])


@pytest.mark.parametrize(
    "entries",
    {
        "parent": [("location", "../secret")],
        "hidden parent": [("location", "a/../../secret")],
        "absolute": [("location", "/etc/hostname")],
        "symbolic link": [("location", "link")],
        "link on the way": [("location", "up/secret")],
        "hard link": [("location", "hard")],
        "pipe": [("location", "pipe")],
        "folder": [("location", ".")],
        "missing": [("location", "nothing")],
        "no location": [("offset", "0")],
        "unknown key": [("location", "data"), ("__class__", "x")],
        "negative offset": [("location", "data"), ("offset", "-4")],
        "offset beyond": [("location", "data"), ("offset", "12")],
        "offset of 2**63": [("location", "data"), ("offset", str(1 << 63))],
        "petabyte": [("location", "data"), ("length", str(1 << 50))],
        "negative length": [("location", "data"), ("length", "-8")],
        "null byte": [("location", "data\0")],
        "drive": [("location", "C:data")],
    }.items(),
    ids=lambda item: item[0],
)
def test_external_data_stay_inside(folder, entries) -> None:
    path = folder / "net.onnx"
    path.write_bytes(external(*entries[1]))
    with pytest.raises(FormatError):
        lm.onnx.load(path, external_data=True)


def test_external_data_of_a_huge_shape_allocate_nothing(folder) -> None:
    path = folder / "net.onnx"
    path.write_bytes(external(("location", "data"), dims=(1 << 40,)))
    with pytest.raises(FormatError, match="beyond its file"):
        lm.onnx.load(path, external_data=True)


# Nodes.


def test_names_do_not_reach_attributes() -> None:
    names = ["__class__", "forward", "_plan", "a..b", "training", ".".join("x" * 500), "a", "a.b"]
    tensors = [encoding.tensor(name, np.ones(2, np.float32)) for name in names]
    sums = [node("Add", [f"t{i}" if i else "x", name], [f"t{i + 1}"])
            for i, name in enumerate(names)]  # fmt: skip
    net = lm.onnx.load(model(*sums, initializers=tensors, outputs=(f"t{len(names)}",)))
    assert type(net) is lm.onnx.Model
    np.testing.assert_array_equal(net(np.zeros(2, np.float32)), [8, 8])
    assert len(net.state_dict()) == len(names)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Relu", ["nothing"], ["y"])],
        [node("Relu", ["x"], ["y"]), node("Relu", ["x"], ["y"])],
        [node("Relu", ["x"], ["x"])],
        [node("Relu", ["x"], ["other"])],
        [node("Relu", ["t"], ["y"]), node("Relu", ["x"], ["t"])],
    ],
)
def test_graphs_that_are_none(nodes) -> None:
    with pytest.raises(FormatError):
        lm.onnx.load(model(*nodes))


@pytest.mark.parametrize("op", ["LayerNormalization", "InstanceNormalization"])
def test_a_negative_epsilon_is_refused(op: str) -> None:
    wrong = field(1, b"epsilon") + varint(2 << 3 | 5) + np.float32(-1).tobytes() + field(20, 1)
    weights = [encoding.tensor(name, np.ones(2, np.float32)) for name in "sb"]
    net = lm.onnx.load(model(node(op, ["x", "s", "b"], ["y"], wrong), initializers=weights))
    with pytest.raises(FormatError, match="epsilon"):
        net(np.ones((2, 2, 2), np.float32))


@pytest.mark.parametrize(
    "one",
    [
        node("Add", ["x"], ["y"]),
        node("Relu", ["x", "x", "x"], ["y"]),
        node("MatMul", ["x", ""], ["y"]),
        node("Transpose", ["x"], ["y"], field(1, b"perm") + field(8, 5) + field(20, 7)),
        node("Concat", ["x"], ["y"], field(1, b"axis") + field(3, 9) + field(20, 2)),
        node("Softmax", ["x"], ["y"], field(1, b"axis") + field(4, b"text") + field(20, 3)),
        node("Split", ["x"], ["y", "z"], field(1, b"axis") + field(3, 7) + field(20, 2)),
        node("Gemm", ["x", "x"], ["y"]),
        node("BatchNormalization", ["x", "x", "x", "x", "x"], ["y"]),
        node("Einsum", ["x"], ["y"], field(1, b"equation") + field(4, b"ij->ijk") + field(20, 3)),
        node("DepthToSpace", ["x"], ["y"], field(1, b"blocksize") + field(3, 0) + field(20, 2)),
        node("GroupNormalization", ["x", "x", "x"], ["y"]),
    ],
)
def test_nodes_that_do_not_keep_their_operator(one) -> None:
    """onnx PR 7879, onnxruntime 28731: ranks, axes, attributes, zero extents."""
    net = lm.onnx.load(model(one))
    for shape in ((), (0,), (3,), (2, 3), (0, 3), (1, 2, 3, 4)):
        try:
            net(np.zeros(shape, np.float32))
        except ERRORS:
            continue


@pytest.mark.parametrize("index", [-4, 3, 2**40, -(2**63)])
def test_indices_are_checked_on_both_sides(index: int) -> None:
    """onnxruntime 27265: negative indices."""
    gather = node("Gather", ["x", "i"], ["y"])
    net = lm.onnx.load(model(gather, initializers=[ints("i", index)]))
    with pytest.raises(ShapeError, match="outside"):
        net(np.zeros((3, 2), np.float32))
    both = lm.onnx.load(model(gather, inputs=("x", "i")).replace(info("i"), info("i")))
    with pytest.raises((IndexError, *ERRORS)):
        both(np.zeros((3, 2), np.float32), np.array([index]))


# Mutated models.


def seeds() -> list[bytes]:
    x = np.zeros((2, 4), np.float32)
    net = nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.LayerNorm(3), nn.Unflatten(1, (3, 1)))
    reduced = model(
        node("Shape", ["x"], ["s"]), node("Gather", ["s", "i"], ["n"]),
        node("Reshape", ["x", "n"], ["r"]), node("ReduceSum", ["r"], ["t"]),
        node("Slice", ["x", "i", "j"], ["c"]), node("Concat", ["c", "c"], ["d"],
                                                    field(1, b"axis") + field(20, 2)),
        node("Add", ["d", "t"], ["y"]),
        initializers=[ints("i", 0, 1), ints("j", 2, 2)],
    )  # fmt: skip
    return [lm.onnx.encode(net, x), reduced]


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(len(out)))
        kind = rng.integers(12)
        if kind == 0:
            out[place] = int(rng.integers(256))
        elif kind < 10:
            # One bit: most of these still parse, and reach the rules.
            out[place] ^= 1 << int(rng.integers(8))
        elif kind == 10:
            del out[place : place + int(rng.integers(1, 9))]
        else:
            start = int(rng.integers(len(out)))
            out[place:place] = out[start : start + int(rng.integers(1, 30))]
        if not out:
            break
    return bytes(out)


def test_replay_of_mutated_models() -> None:
    rng = np.random.default_rng(11)
    x = np.ones((2, 4), np.float32)
    loaded = answered = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data in seeds():
        for _ in range(1500):
            try:
                net = lm.onnx.load(mutated(data, rng))
            except (FormatError, UnsupportedError):
                continue
            loaded += 1
            try:
                net(*[x] * len(net.input_names))
                answered += 1
            except (*ERRORS, IndexError, TypeError):
                continue
    assert loaded > 200
    assert answered > 100
    # Kilobytes; a model of a few hundred bytes never needs more than its folding allowance.
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 256 << 10


def test_reading_agrees_with_the_onnx_package() -> None:
    """Mutants that both accept say the same nodes; see research on differential tests."""
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(12)
    agreed = 0
    for data in seeds():
        for _ in range(800):
            mutant = mutated(data, rng)
            try:
                ours = read(mutant)
                theirs = onnx.load_from_string(mutant)
            except Exception:
                continue
            agreed += 1
            assert [(n.op_type, n.inputs, n.outputs) for n in ours.graph.nodes] == [
                (n.op_type, tuple(n.input), tuple(n.output)) for n in theirs.graph.node
            ]
            assert [t.dims for t in ours.graph.initializers] == [
                tuple(t.dims) for t in theirs.graph.initializer
            ]
    assert agreed > 100
