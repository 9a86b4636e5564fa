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


def numbers(kind: int, field: str, count: int) -> bytes:
    """A tensor whose elements lie outside raw data."""
    tensor = TensorProto(name="w", data_type=kind, dims=[count])
    getattr(tensor, field).extend([-1] * count)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])],
        "g",
        [],
        [helper.make_tensor_value_info("y", kind, [count])],
        [tensor],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString()


EXPENSIVE = {
    "nodes": lambda: chain(33_000),
    "more nodes": lambda: chain(200_000),
    "parameters": lambda: parameters([f"w{i}" for i in range(11_000)]),
    "more parameters": lambda: parameters([f"w{i}" for i in range(40_000)]),
    "modules": lambda: parameters([f"{i}." + ".".join("abcdefghijklm") for i in range(5_000)]),
    "functions": lambda: doubling(14),
    "more functions": lambda: doubling(60),
    "functions with long names": lambda: doubling(13, "n" * 50_000),
    "numbers": lambda: numbers(TensorProto.INT64, "int64_data", 270_000),
    "more numbers": lambda: numbers(TensorProto.INT64, "int64_data", 900_000),
    "floats": lambda: numbers(TensorProto.FLOAT, "float_data", 2_000_000),
    "doubles": lambda: numbers(TensorProto.DOUBLE, "double_data", 2_000_000),
    "a long name": lambda: model([helper.make_node("Relu", ["x"], ["y"], name="n" * 10**6)]),
}


def refused(data: bytes) -> bool:
    try:
        lm.onnx.load(data)
    except FormatError:
        return True
    return False


@pytest.mark.parametrize("name", EXPENSIVE)
def test_limits_are_kept(name: str) -> None:
    data = EXPENSIVE[name]()
    times = []
    # The better of two: the machine may be busy.
    for _ in range(2):
        start = time.process_time()
        refusal = refused(data)
        times.append(time.process_time() - start)
    assert refusal == ("more" in name or name == "modules")
    assert min(times) < targets.time_limit(len(data))
    tracemalloc.start()
    try:
        targets.door(data)
    except targets.REFUSALS:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < targets.memory_limit(len(data))


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
