# SPDX-License-Identifier: Apache-2.0
"""What a file may ask of `load` beside its operators: refusals, names, defaults, other files."""

from __future__ import annotations

import copy
import logging
import pickle
import warnings

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from handmade import field, info, model, node
from lamella import nn
from lamella.errors import FormatError, ShapeError, UnsupportedError
from lamella.foreign.rule import Rule
from lamella.onnx import encoding
from lamella.onnx.rules import RULES

pytest.importorskip("onnx")
import onnx
from onnx import TensorProto, helper, numpy_helper

X = np.float32([[1, -2, 3, -4]])
WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)


def build(nodes, inputs, outputs, initializers=(), ir_version: int = 9, **more) -> bytes:
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        [numpy_helper.from_array(array, name) for name, array in initializers],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=ir_version, **more
    ).SerializeToString()


FLOAT_X, FLOAT_Y = ("x", TensorProto.FLOAT, ["n", 4]), ("y", TensorProto.FLOAT, None)


# Refusals.


def test_each_operator_is_refused_once_with_its_count_and_first_node() -> None:
    def graph(*nodes):
        return helper.make_graph(nodes, "body", [], [helper.make_tensor_value_info("b", 1, None)])

    inner = graph(helper.make_node("Bernoulli", ["x"], ["b"], name="deep"))
    loop = helper.make_node("Loop", ["", "c", "x"], ["b"], name="loop", body=inner)
    body = [helper.make_node("LpPool", ["a"], ["b"], name="local", kernel_shape=[3])]
    function = helper.make_function("f", "Local", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    nodes = [
        helper.make_node("LpPool", ["x"], ["a"], name="first", kernel_shape=[3]),
        helper.make_node("LpPool", ["a"], ["b"], name="second", kernel_shape=[3]),
        helper.make_node("If", ["c"], ["d"], name="if", then_branch=graph(loop),
                         else_branch=graph(helper.make_node("Local", ["x"], ["b"], domain="f"))),
        helper.make_node("Nothing", ["b"], ["y"]),
    ]  # fmt: skip
    data = build(nodes, [FLOAT_X, ("c", TensorProto.BOOL, [])], [FLOAT_Y], functions=[function])
    with pytest.raises(UnsupportedError) as caught:
        lm.onnx.load(data)
    told = str(caught.value)
    for part in ("LpPool-17 at 'first' (3 nodes)", "If-17 at 'if' (1 node)",
                 "Loop-17 at 'loop' (1 node)", "Bernoulli-17 at 'deep' (1 node)",
                 "Nothing-17 making 'y' (1 node)"):  # fmt: skip
        assert part in told, told
    assert told.count("LpPool") == 1
    assert "Relu" not in told


def test_seventy_operators_are_all_named() -> None:
    nodes = [helper.make_node(f"Op{i}", ["x"], [f"y{i}"]) for i in range(70)]
    with pytest.raises(UnsupportedError) as caught:
        lm.onnx.load(build(nodes, [FLOAT_X], [("y0", TensorProto.FLOAT, None)]))
    assert all(f"Op{i}-17 " in str(caught.value) for i in range(70))


@pytest.mark.parametrize("kind", [AttributeError, TypeError, IndexError, ValueError, KeyError])
def test_a_failure_of_a_rule_is_ours_and_stays_so(kind, monkeypatch) -> None:
    def broken(call, x):
        raise kind("something of ours")

    monkeypatch.setitem(RULES, ("Relu", 1), Rule(broken, "n"))
    lm.onnx.rules.find.cache_clear()
    try:
        net = lm.onnx.load(build([helper.make_node("Relu", ["x"], ["y"])], [FLOAT_X], [FLOAT_Y]))
        with pytest.raises(kind, match="something of ours") as caught:
            net(X)
    finally:
        lm.onnx.rules.find.cache_clear()
    assert type(caught.value) is kind
    assert caught.value.__notes__ == ["in the rule of Relu, with operands of shapes [(1, 4)]"]


@pytest.mark.parametrize(
    ("op", "inputs"),
    [("Add", ["x"]), ("Relu", ["x", "x"]), ("MatMul", ["x", ""]), ("Gemm", []), ("Not", [])],
)
def test_missing_and_surplus_operands_are_the_files_fault(op: str, inputs: list[str]) -> None:
    net = lm.onnx.load(build([helper.make_node(op, inputs, ["y"])], [FLOAT_X], [FLOAT_Y]))
    with pytest.raises(FormatError, match="other operands than its operator"):
        net(X)


# Names and defaults.


@pytest.mark.parametrize(
    "names",
    [("input.1", "1"), ("self", "out"), ("out", "inputs"), ("class", "named"), ("args", "kwargs"),
     ("plan", "env"), ("é è", "x/y:0")],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("staged", [False, True])
def test_every_input_can_be_given_by_its_name(names: tuple[str, str], staged: bool) -> None:
    a, b = names
    nodes = [helper.make_node("Sub", [a, b], ["d"])]
    ends = [("d", TensorProto.FLOAT, None)]
    if staged:
        # What is computed from integers decides a shape.
        nodes += [helper.make_node("Cast", [b], ["i"], to=TensorProto.INT64),
                  helper.make_node("NonZero", ["i"], ["where"])]  # fmt: skip
        ends.append(("where", TensorProto.INT64, None))
    data = build(nodes, [(a, TensorProto.FLOAT, [4]), (b, TensorProto.FLOAT, [4])], ends)
    net = lm.onnx.load(data)
    one, two = np.float32([5, 6, 7, 8]), np.float32([1, 0, 2, 0])
    for result in (net(one, two), net(**{a: one, b: two}), net(**{b: two, a: one}),
                   net(one, **{b: two}), net(**{b: two, a: one})):  # fmt: skip
        got = result[0] if staged else result
        np.testing.assert_array_equal(got, one - two)
    if not staged:
        np.testing.assert_array_equal(nn.Sequential(lm.onnx.load(
            build([helper.make_node("Relu", [a], ["y"])], [(a, TensorProto.FLOAT, [4])], [FLOAT_Y])
        ))(two), two)  # fmt: skip


def with_defaults(ir_version: int = 3) -> bytes:
    """y = reshape(x @ w + b): every initialiser is an input too, as in old files."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["s"]),
        helper.make_node("Reshape", ["s", "shape"], ["y"]),
    ]
    arrays = [("w", WEIGHT), ("b", np.float32(1)), ("shape", np.array([1, 3]))]
    inputs = [FLOAT_X, ("w", TensorProto.FLOAT, [4, 3]), ("b", TensorProto.FLOAT, []),
              ("shape", TensorProto.INT64, [2]), ("unused", TensorProto.FLOAT, [1])]  # fmt: skip
    return build(nodes, inputs, [FLOAT_Y], [*arrays, ("unused", np.float32([1]))], ir_version)


def test_initialisers_that_are_inputs_may_be_overridden() -> None:
    net = lm.onnx.load(with_defaults())
    assert net.input_names == ("x",)
    assert [one.name for one in net.optional_inputs] == ["w", "b", "shape"]
    own = X @ WEIGHT + 1
    np.testing.assert_array_equal(net(X), own)
    np.testing.assert_array_equal(net(X, w=-WEIGHT), X @ -WEIGHT + 1)
    np.testing.assert_array_equal(net(X, b=np.float32(3), w=-WEIGHT), X @ -WEIGHT + 3)
    np.testing.assert_array_equal(net(x=X, shape=np.array([3, 1])), own.reshape(3, 1))
    # And the defaults are what they were.
    np.testing.assert_array_equal(net(X), own)
    with pytest.raises(ShapeError, match="another shape than the model declares"):
        net(X, w=WEIGHT.T)
    with pytest.raises(TypeError, match="arguments do not fit"):
        net(X, unused=np.float32([2]))


# Metadata.


def test_metadata_are_kept_and_written(tmp_path) -> None:
    raw = onnx.load_from_string(
        build([helper.make_node("Relu", ["x"], ["y"])], [FLOAT_X], [FLOAT_Y])
    )
    texts = {"classes": "['cat', 'dog']", "empty": "", "ü": "漢字"}
    helper.set_model_props(raw, texts)
    net = lm.onnx.load(raw.SerializeToString())
    assert net.metadata == texts
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.metadata == texts
    net.metadata["more"] = "one"
    path = tmp_path / "net.onnx"
    lm.onnx.save(net, path, X)
    assert lm.onnx.load(path).metadata == {**texts, "more": "one"}
    assert {one.key: one.value for one in onnx.load(path).metadata_props} == {
        **texts,
        "more": "one",
    }
    assert lm.onnx.load(lm.onnx.encode(nn.ReLU(), X)).metadata == {}
    net.metadata["wrong"] = 3
    with pytest.raises(TypeError, match="metadata are texts"):
        lm.onnx.encode(net, X)


# Other files.


@pytest.fixture
def beside(tmp_path):
    """A model of two layers whose weights lie in another file."""
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    whole = onnx.load_from_string(lm.onnx.encode(net, X))
    path = tmp_path / "model.onnx"
    onnx.save(whole, path, save_as_external_data=True, location="model.onnx.data",
              size_threshold=0)  # fmt: skip
    return path, net


def test_external_data_are_told_once(beside) -> None:
    path, net = beside
    same_bits(lm.onnx.load(path, external_data=True)(X), net(X))
    with pytest.raises(UnsupportedError) as caught:
        lm.onnx.load(path)
    told = str(caught.value)
    size = sum(p.data.nbytes for p in net.parameters())
    assert told.count("external_data=True") == told.count("'model.onnx.data'") == 1
    assert f"bytes={size}" in told
    assert "no rule" not in told
    assert "--external-data" not in told
    with pytest.raises(UnsupportedError, match="by its path, with external_data=True"):
        lm.onnx.load(path.read_bytes())
    (path.parent / "model.onnx.data").unlink()
    with pytest.raises(FormatError, match=r"not there; got location='model.onnx.data'"):
        lm.onnx.load(path, external_data=True)


def test_external_data_of_a_constant(tmp_path) -> None:
    (tmp_path / "data").write_bytes(np.float32([1, 2]).tobytes())
    entry = field(13, field(1, b"location") + field(2, b"data"))
    tensor = field(1, 2) + field(2, 1) + field(14, 1) + entry
    one = node("Constant", [], ["c"], field(1, b"value") + field(5, tensor) + field(20, 4))
    path = tmp_path / "net.onnx"
    path.write_bytes(model(one, node("Add", ["x", "c"], ["y"])))
    with pytest.raises(UnsupportedError, match="bytes=8"):
        lm.onnx.load(path)
    got = lm.onnx.load(path, external_data=True)(np.zeros(2, np.float32))
    np.testing.assert_array_equal(got, [1, 2])


def test_external_data_beside_what_has_no_rule(tmp_path) -> None:
    path = tmp_path / "net.onnx"
    entry = field(13, field(1, b"location") + field(2, b"data"))
    tensor = field(1, 2) + field(2, 1) + field(8, b"w") + field(14, 1) + entry
    nodes = node("Add", ["x", "w"], ["t"]), node("Xyz", ["t"], ["y"])
    path.write_bytes(model(*nodes, initializers=[tensor]))
    with pytest.raises(UnsupportedError, match=r"Xyz-20 .*'data'.*external_data=True"):
        lm.onnx.load(path)


def test_the_command_line_names_its_own_flag(beside, capsys) -> None:
    from lamella.cli import main

    path, _ = beside
    for command in ("summary", "run"):
        assert main([command, str(path)]) == 2
        told = capsys.readouterr().err
        assert "--external-data" in told
        assert "external_data=True" not in told
    assert main(["summary", str(path), "--external-data"]) == 0


def test_what_torch_writes_by_default(tmp_path) -> None:
    pytest.importorskip("onnxscript")
    torch = pytest.importorskip("torch")
    logging.disable(logging.CRITICAL)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).eval()
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.from_numpy(X),), str(path), verbose=False)
    loaded = lm.onnx.load(path, external_data=True)
    # Sums of at most eight terms.
    want = net(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(loaded(X), want, rtol=1e-5, atol=1e-6)


def test_an_unknown_field_of_an_attribute_is_no_fault() -> None:
    tensor = encoding.tensor("w", np.float32([1, 2]))
    data = model(node("Add", ["x", "w"], ["y"]), initializers=[tensor]) + field(77, info("z"))
    np.testing.assert_array_equal(lm.onnx.load(data)(np.zeros(2, np.float32)), [1, 2])
