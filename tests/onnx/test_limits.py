# SPDX-License-Identifier: Apache-2.0
"""Files made to be expensive keep to the limits of time and memory, or are refused within them.

What a fuzzer of small files does not reach: many nodes, many parameters, functions that multiply,
and names that would fill the memory or a terminal.
"""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

import handmade
import lamella as lm
from fuzz import targets
from lamella.errors import FormatError, UnsupportedError

pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper

ONE = np.ones(1, np.float32)


def model(nodes, arrays=(), functions=(), output: str = "y") -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(array, name) for name, array in arrays],
    )
    opsets = [helper.make_opsetid(domain, 20) for domain in ("", "f")]
    return helper.make_model(
        graph, opset_imports=opsets, functions=list(functions)
    ).SerializeToString()


def chain(count: int) -> bytes:
    nodes = [helper.make_node("Relu", [f"t{i}" if i else "x"], [f"t{i + 1}"]) for i in range(count)]
    return model(nodes, output=f"t{count}")


def parameters(names: list[str]) -> bytes:
    return model([helper.make_node("Sum", ["x", *names], ["y"])], [(name, ONE) for name in names])


def doubling(depth: int, name: str = "t") -> bytes:
    opsets = [helper.make_opsetid(domain, 20) for domain in ("", "f")]
    functions = [
        helper.make_function("f", "f0", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])],
                             opsets)
    ]  # fmt: skip
    for i in range(1, depth):
        body = [
            helper.make_node(f"f{i - 1}", [a], [b], domain="f", name=name)
            for a, b in (("a", name), (name, "b"))
        ]
        functions.append(helper.make_function("f", f"f{i}", ["a"], ["b"], body, opsets))
    return model([helper.make_node(f"f{depth - 1}", ["x"], ["y"], domain="f")], (), functions)


def numbers(kind: int, field: str, count: int, value: int = -1) -> bytes:
    """A tensor whose elements lie outside raw data."""
    tensor = TensorProto(name="w", data_type=kind, dims=[count])
    getattr(tensor, field).extend([value] * count)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])],
        "g",
        [],
        [helper.make_tensor_value_info("y", kind, [count])],
        [tensor],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()


def records(key: int, numbers: np.ndarray) -> bytes:
    """Numbers one by one, each with its key in front, as writers of proto2 leave lists."""
    if numbers.dtype.kind == "f":
        whole = np.empty(numbers.size, [("key", "u1"), ("number", "<f4")])
        whole["key"], whole["number"] = key, numbers
        return whole.tobytes()
    places = 4
    whole = np.empty((numbers.size, 1 + places), np.uint8)
    whole[:, 0] = key
    for place in range(places):
        more = 0x80 if place < places - 1 else 0
        whole[:, 1 + place] = (numbers >> 7 * place & 0x7F) | more
    return whole.tobytes()


def listed(name: str, kind: int, data: bytes) -> bytes:
    """An AttributeProto of a list."""
    return handmade.field(1, name.encode()) + data + handmade.field(20, kind)


INTEGERS = np.arange(1_000_000) * 7 % 1_000_003
FLOATS = INTEGERS.astype(np.float32) / 3


def trees(count: int) -> bytes:
    """A gradient boosting of `count` nodes: nine lists, none of them packed."""
    every = np.resize(INTEGERS, count)
    modes = b"".join([b"\x4a\x0aBRANCH_LEQ", b"\x4a\x04LEAF"] * (count // 2))
    attributes = [listed(f"nodes_{name}", 7, records(0x40, every))
                  for name in ("featureids", "nodeids", "treeids", "truenodeids", "falsenodeids",
                               "missing_value_tracks_true")]  # fmt: skip
    attributes += [listed(f"nodes_{name}", 6, records(0x3D, np.resize(FLOATS, count)))
                   for name in ("values", "hitrates")]  # fmt: skip
    attributes.append(listed("nodes_modes", 8, modes))
    node = handmade.node("TreeEnsembleRegressor", ["x"], ["y"], *attributes, domain="ai.onnx.ml")
    return handmade.model(node)


def constant(kind: int, packed: bool) -> bytes:
    """A Constant of a million numbers in an attribute."""
    if packed:
        data = FLOATS.tobytes() if kind == 6 else handmade.packed(INTEGERS)
        data = handmade.field(kind + 1, data)
    else:
        data = records(0x3D if kind == 6 else 0x40, FLOATS if kind == 6 else INTEGERS)
    name = "value_floats" if kind == 6 else "value_ints"
    return handmade.model(handmade.node("Constant", [], ["y"], listed(name, kind, data)), inputs=())


EXPENSIVE = {
    "nodes": lambda: chain(33_000),
    "more nodes": lambda: chain(200_000),
    "parameters": lambda: parameters([f"w{i}" for i in range(11_000)]),
    "more parameters": lambda: parameters([f"w{i}" for i in range(40_000)]),
    "modules": lambda: parameters([f"{i}." + ".".join("abcdefghijklm") for i in range(5_000)]),
    "functions": lambda: doubling(14),
    "more functions": lambda: doubling(60),
    "functions with long names": lambda: doubling(13, "n" * 50_000),
    "numbers": lambda: numbers(TensorProto.INT64, "int64_data", 2_000_000),
    "small numbers": lambda: numbers(TensorProto.UINT8, "int32_data", 2_000_000, 1),
    "more numbers": lambda: numbers(TensorProto.INT64, "int64_data", 4_000_000, 1),
    "integers of an attribute": lambda: constant(7, False),
    "floats of an attribute": lambda: constant(6, False),
    "packed integers of an attribute": lambda: constant(7, True),
    "packed floats of an attribute": lambda: constant(6, True),
    "trees, more than there are rules for": lambda: trees(1_000_000),
    "floats": lambda: numbers(TensorProto.FLOAT, "float_data", 2_000_000),
    "doubles": lambda: numbers(TensorProto.DOUBLE, "double_data", 2_000_000),
    "a long name": lambda: model([helper.make_node("Relu", ["x"], ["y"], name="n" * 10**6)]),
}


def refused(data: bytes) -> bool:
    try:
        lm.onnx.load(data)
    except UnsupportedError:
        return True
    return False


@pytest.mark.parametrize("name", EXPENSIVE)
def test_limits_are_kept(name: str) -> None:
    data = EXPENSIVE[name]()
    # The better of two: the machine may be busy.
    for last in (False, True):
        start = time.process_time()
        refusal = refused(data)
        if time.process_time() - start < targets.time_limit(len(data)):
            break
        assert not last
    assert refusal == ("more" in name or name == "modules")
    tracemalloc.start()
    try:
        targets.door(data)
    except targets.REFUSALS:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < targets.memory_limit(len(data))


def test_trees_are_refused_for_what_they_are() -> None:
    with pytest.raises(UnsupportedError, match=r"TreeEnsembleRegressor-1 \(ai.onnx.ml\)"):
        lm.onnx.load(trees(100_000))


def test_floods_of_texts_end_in_time() -> None:
    texts = handmade.field(1, b"a") + b"\x4a\0" * 4_000_000
    data = handmade.model(handmade.node("Relu", ["x"], ["y"], texts))
    start = time.process_time()
    with pytest.raises(UnsupportedError, match="more texts"):
        lm.onnx.load(data)
    assert time.process_time() - start < targets.time_limit(len(data))


@pytest.mark.parametrize("packed", [False, True])
def test_long_lists_have_the_numbers_of_the_file(packed: bool) -> None:
    np.testing.assert_array_equal(lm.onnx.load(constant(7, packed))(), INTEGERS)
    np.testing.assert_array_equal(lm.onnx.load(constant(6, packed))(), FLOATS)


@pytest.mark.parametrize("count", [1, 2, 5, 255, 256, 257, 3000])
def test_lists_of_every_length(count: int) -> None:
    """Short and long lists, packed and not, numbers of every length: onnx wrote them."""
    rng = np.random.default_rng(count)
    ints = (rng.integers(-(2**63), 2**63, count) >> rng.integers(0, 63, count)).tolist()
    attribute = helper.make_attribute("value_ints", ints)
    data = attribute.SerializeToString()
    data += handmade.field(8, handmade.packed(np.array(ints)))
    net = lm.onnx.load(handmade.model(handmade.node("Constant", [], ["y"], data), inputs=()))
    np.testing.assert_array_equal(net(), ints + ints)


def test_functions_with_long_names_compute() -> None:
    x = np.float32([-1, 2])
    # Two names of one body that begin alike stay two.
    a, b = "n" * 200 + "a", "n" * 200 + "b"
    body = [
        helper.make_node("Relu", ["x"], [a]),
        helper.make_node("Neg", ["x"], [b]),
        helper.make_node("Add", [a, b], ["y"]),
    ]
    opsets = [helper.make_opsetid("", 20)]
    function = helper.make_function("f", "g", ["x"], ["y"], body, opsets)
    net = lm.onnx.load(model([helper.make_node("g", ["x"], ["y"], domain="f")], (), [function]))
    np.testing.assert_array_equal(net(x[:1]), [1])
    np.testing.assert_array_equal(net(x[1:]), [0])


@pytest.mark.parametrize("text", ["\x1b[2J\n\r", "n" * 10**6, "\u202e\ud7ff"])
def test_names_are_escaped_and_shortened_in_messages(text: str) -> None:
    """CVE-2024-27319 was in such a text."""
    broken = [
        model([helper.make_node(text, ["x"], ["y"], name=text)]),
        model([helper.make_node("Relu", ["x"], ["y"], name=text, domain=text)]),
        model([helper.make_node("Relu", [text], ["y"], name=text)]),
        model([helper.make_node("Relu", ["x"], ["z"])], output=text),
        model([helper.make_node("Relu", ["x"], ["y"], g=helper.make_graph([], "g", [], []))]),
        model([helper.make_node("Add", ["x", text], ["y"])], [(text, np.array(["a"], object))]),
    ]
    for data in broken:
        with pytest.raises((FormatError, UnsupportedError)) as caught:
            lm.onnx.load(data)(ONE)
        assert str(caught.value).isascii()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 2000
