# SPDX-License-Identifier: Apache-2.0
"""Loaded models keep the manners of modules, and agree with ONNX's ReferenceEvaluator."""

from __future__ import annotations

import copy
import os
import pickle
import threading
from typing import Any

import numpy as np
import pytest

import lamella as lm
from comparators import same_bits
from lamella import nn
from lamella.errors import DTypeError, ShapeError, UnsupportedError
from lamella.foreign import stages as stages_module
from lamella.foreign.walk import apply_rule

pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

RNG = np.random.default_rng(3)
WEIGHT = RNG.normal(size=(4, 3)).astype(np.float32)


def build(nodes, inputs, outputs, initializers=(), opset: int = 20, **kwargs) -> bytes:
    """A model of nodes; inputs and outputs are (name, element type, shape)."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        [numpy_helper.from_array(array, name) for name, array in initializers],
    )
    opsets = [helper.make_opsetid("", opset), *kwargs.pop("opsets", ())]
    return helper.make_model(graph, opset_imports=opsets, **kwargs).SerializeToString()


def masked_scores(batch: object = "batch") -> bytes:
    """scores = where(mask, x @ w, -1) and their argmax: two inputs, two outputs."""
    return build(
        [
            helper.make_node("MatMul", ["x", "layer.weight"], ["product"]),
            helper.make_node("Where", ["mask", "product", "low"], ["scores"]),
            helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
        ],
        [("x", TensorProto.FLOAT, [batch, 4]), ("mask", TensorProto.BOOL, [batch, 3])],
        [("scores", TensorProto.FLOAT, [batch, 3]), ("best", TensorProto.INT64, [batch])],
        [("layer.weight", WEIGHT), ("low", np.float32(-1))],
    )


def staged() -> bytes:
    """exp(x)[ids + 1] @ w, of ids that are not negative: as many as there are, so in stages."""
    return build(
        [
            helper.make_node("GreaterOrEqual", ["ids", "zero"], ["kept"]),
            helper.make_node("Compress", ["ids", "kept"], ["some"]),
            helper.make_node("Add", ["some", "one"], ["moved"]),
            helper.make_node("Exp", ["x"], ["e"]),
            helper.make_node("Gather", ["e", "moved"], ["rows"], axis=0),
            helper.make_node("MatMul", ["rows", "w"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, ["rows", 4]), ("ids", TensorProto.INT64, ["n"])],
        [("y", TensorProto.FLOAT, ["n", 3])],
        [("zero", np.array(0, np.int64)), ("one", np.array(1, np.int64)), ("w", WEIGHT)],
    )


X = RNG.normal(size=(5, 4)).astype(np.float32)
MASK = RNG.random((5, 3)) > 0.5


def test_names_and_several_outputs() -> None:
    net = lm.onnx.load(masked_scores())
    assert net.input_names == ("x", "mask")
    assert net.output_names == ("scores", "best")
    scores, best = net(X, MASK)
    same_bits(net(mask=MASK, x=X)[0], scores)
    assert best.dtype == np.int64
    want = ReferenceEvaluator(masked_scores()).run(None, {"x": X, "mask": MASK})
    np.testing.assert_allclose(scores, want[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(best, want[1])


def test_inputs_and_outputs_are_described() -> None:
    net = lm.onnx.load(masked_scores())
    described = [(one.name, one.dtype, one.shape) for one in (*net.inputs, *net.outputs)]
    assert described == [
        ("x", np.float32, ("batch", 4)),
        ("mask", np.bool_, ("batch", 3)),
        ("scores", np.float32, ("batch", 3)),
        ("best", np.int64, ("batch",)),
    ]
    data = build(
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", TensorProto.FLOAT16, [None, 2])],
        [("y", TensorProto.UNDEFINED, None)],
    )
    net = lm.onnx.load(data)
    # Half floats are computed as float32; what the file leaves out is None.
    assert str(net.inputs[0]) == "x: float32 (?, 2)"
    assert (net.outputs[0].dtype, net.outputs[0].shape) == (None, None)
    assert str(net.outputs[0]) == "y: any type of any shape"
    assert str(lm.onnx.load(masked_scores()).outputs[1]) == "best: int64 (batch,)"


def test_a_summary_counts_what_the_operators_give() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "fc.weight", "fc.bias"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Identity", ["r"], ["same"]),
        helper.make_node("Softmax", ["same"], ["y"]),
    ]
    arrays = [("fc.weight", np.ones((3, 4), np.float32)), ("fc.bias", np.ones(3, np.float32))]
    ends = [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 3])]
    net = lm.onnx.load(build(nodes, *ends, arrays))
    twin = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Softmax(-1))
    for batch in (1, 5):
        found, want = net.summary((batch, 4)), twin.summary((batch, 4))
        assert found.activation_bytes == want.activation_bytes == batch * 3 * 4 * 3
        assert found.total_macs == want.total_macs
    # As a part of another net; and names without dots, where the model has no children.
    whole = nn.Sequential(net, nn.ReLU()).summary((2, 4))
    assert whole.activation_bytes == 2 * 3 * 4 * 4
    plain = [(name.replace(".", "_"), array) for name, array in arrays]
    nodes[0].input[1:] = [name for name, _ in plain]
    assert lm.onnx.load(build(nodes, *ends, plain)).summary((2, 4)).activation_bytes == 72


def test_a_summary_has_a_row_for_every_node() -> None:
    """Shared weights count where they first occur, unused ones stay where they lie."""
    nodes = [
        helper.make_node("MatMul", ["x", "fc.weight"], ["h"], name="first"),
        helper.make_node("Shape", ["x"], ["size"], name="/fc/Shape"),
        helper.make_node("MatMul", ["h", "fc.weight"], ["g"], name="first"),
        helper.make_node("Relu", ["g"], ["r"], name="\x1b[31m" + "n" * 200),
        helper.make_node("Relu", ["r"], ["q"]),
        helper.make_node("Relu", ["q"], ["y"], name="Relu_1"),
    ]
    arrays = [("fc.weight", np.ones((4, 4), np.float32)), ("fc.idle", np.ones(5, np.float32))]
    ends = [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 4])]
    net = lm.onnx.load(build(nodes, *ends, arrays))
    rows = net.summary((3, 4)).rows
    names = ["first", "/fc/Shape", "first_1", "\\x1b[31m" + "n" * 75 + "...", "Relu_1", "Relu_1_1"]
    assert [row.path for row in rows if row.parent is not None] == names
    by = {row.path: row for row in rows}
    assert (by["first"].parameters, by["first"].macs) == (16, 48)
    assert (by["first_1"].parameters, by["first_1"].macs) == (0, 48)
    assert by["/fc/Shape"].output == [(2,)]
    assert by["first"].output == [(3, 4)]
    assert by["first"].label == "  first: MatMul"
    assert by["/fc/Shape"].label == "  /fc: Shape"
    assert sum(row.parameters for row in rows) == sum(p.data.size for p in net.parameters())
    inside = nn.Sequential(nn.Linear(4, 4), net).summary((3, 4))
    assert [row.path for row in inside.rows][:4] == ["", "0", "1", "1.first"]
    assert inside.rows[3].label == "    first: MatMul"
    assert inside.total_macs == 3 * 48
    assert net.summary((3, 4), training=True).training_bytes > 0


def test_initializers_are_parameters_under_their_names() -> None:
    net = lm.onnx.load(masked_scores())
    assert list(net.state_dict()) == ["layer.weight"]
    before = net(X, MASK)[0]
    net.get_parameter("layer.weight").data = 2 * WEIGHT
    assert (net(X, np.ones_like(MASK))[0] != before).any()
    assert net.summary(X, MASK).total_params == 12
    assert net.training is False


def test_one_dynamic_batch_gives_the_same_bits() -> None:
    net = lm.onnx.load(masked_scores())
    whole = net(X, MASK)[0]
    for row in range(5):
        same_bits(net(X[row : row + 1], MASK[row : row + 1])[0], whole[row : row + 1])


@pytest.mark.parametrize("model", [masked_scores, staged])
def test_copies_are_equal_and_apart(model) -> None:
    net = lm.onnx.load(model())
    second = MASK if model is masked_scores else np.array([0, 3, 1])
    want = net(X, second)
    copies = [copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    for other in copies:
        got = other(X, second)
        for a, b in zip(got, want, strict=True) if isinstance(want, tuple) else [(got, want)]:
            same_bits(a, b)
        name = next(iter(other.state_dict()))
        other.get_parameter(name).data = np.zeros((4, 3), np.float32)
    after = net(X, second)
    same_bits(after[0], want[0])


def test_stages_follow_integers_and_shapes() -> None:
    net = lm.onnx.load(staged())
    reference = ReferenceEvaluator(staged())
    for ids in ([0, 3, 1], [2, 2, 2], [3], [0, 1, 2, 3, 0], [0, 3, 1]):
        index = np.array(ids)
        (want,) = reference.run(None, {"x": X, "ids": index})
        # Products of four terms, each within a few roundings.
        np.testing.assert_allclose(net(X, index), want, rtol=1e-5, atol=1e-5)


def test_stages_follow_shapes_that_data_decide() -> None:
    data = build(
        [
            helper.make_node("Compress", ["x", "kept"], ["some"], axis=0),
            helper.make_node("Shape", ["some"], ["shape"]),
            helper.make_node("Exp", ["some"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, [5, 4]), ("kept", TensorProto.BOOL, [5])],
        [("shape", TensorProto.INT64, [2]), ("y", TensorProto.FLOAT, [None, 4])],
    )
    net = lm.onnx.load(data)
    for count in (2, 4, 0, 2):
        shape, y = net(X, np.arange(5) < count)
        assert shape.tolist() == [count, 4]
        # One function, within a rounding of NumPy's.
        np.testing.assert_allclose(y, np.exp(X[:count]), rtol=1e-6)


def test_indices_and_masks_run_in_one_program() -> None:
    """Token ids look rows up, an integer mask hides scores: what encoders of text begin with."""
    data = build(
        [
            helper.make_node("Gather", ["table", "ids"], ["rows"]),
            helper.make_node("ReduceSum", ["rows", "last"], ["scores"], keepdims=0),
            helper.make_node("Cast", ["mask"], ["kept"], to=TensorProto.BOOL),
            helper.make_node("Equal", ["ids", "zero"], ["padding"]),
            helper.make_node("Not", ["padding"], ["word"]),
            helper.make_node("And", ["kept", "word"], ["seen"]),
            helper.make_node("Where", ["seen", "scores", "low"], ["hidden"]),
            helper.make_node("Softmax", ["hidden"], ["y"]),
        ],
        [("ids", TensorProto.INT64, ["n", "t"]), ("mask", TensorProto.INT64, ["n", "t"])],
        [("y", TensorProto.FLOAT, ["n", "t"])],
        [("table", WEIGHT), ("last", np.array([2])), ("zero", np.array(0)),
         ("low", np.float32(-1e30))],
    )  # fmt: skip
    ids = np.array([[1, 2, 0], [3, 3, 1]])
    mask = np.array([[1, 1, 1], [1, 0, 1]])
    net = lm.onnx.load(data)
    lm.compile(net, ids, mask)
    (want,) = ReferenceEvaluator(data).run(None, {"ids": ids, "mask": mask})
    np.testing.assert_allclose(net(ids, mask), want, rtol=1e-5, atol=1e-6)


def test_a_staged_model_is_no_part_of_another() -> None:
    net = lm.onnx.load(staged())
    with pytest.raises(UnsupportedError, match=r"stages.*Compress"):
        lm.compile(net, X, np.array([0, 1]))


def test_a_model_is_part_of_another() -> None:
    inner = lm.onnx.load(lm.onnx.encode(nn.Linear(4, 3), X))
    net = nn.Sequential(inner, nn.ReLU())
    same_bits(net(X), np.maximum(inner(X), 0))


@pytest.mark.parametrize("model", [masked_scores, staged])
def test_threads_agree(model) -> None:
    net = lm.onnx.load(model())
    second = MASK if model is masked_scores else np.array([0, 3, 1])
    want = net(X, second)[0]
    results: list[np.ndarray] = []

    def work() -> None:
        results.extend(net(X, second)[0] for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    for got in results:
        same_bits(got, want)


@pytest.mark.parametrize("model", [masked_scores, staged])
def test_out(model) -> None:
    net = lm.onnx.load(model())
    second = MASK if model is masked_scores else np.array([0, 3, 1])
    want = net(X, second)
    out = tuple(map(np.empty_like, want)) if isinstance(want, tuple) else np.empty_like(want)
    assert net(X, second, out=out) is out
    same_bits(out[0], want[0])


def test_integers_must_fit_the_declared_type() -> None:
    net = lm.onnx.load(
        build(
            [helper.make_node("Add", ["a", "a"], ["y"])],
            [("a", TensorProto.UINT8, [None])],
            [("y", TensorProto.UINT8, [None])],
        )
    )
    got = net(np.array([1, 200]))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, [2, 144])
    with pytest.raises(DTypeError, match="does not hold"):
        net(np.array([1, 300]))


def test_running_statistics_are_not_learnt() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    loaded = lm.onnx.load(lm.onnx.encode(net, X))
    assert {name for name, _ in loaded.named_buffers()} == {"1.running_mean", "1.running_var"}
    assert len(list(loaded.parameters())) == 4
    same_bits(loaded(X), net(X))


def test_a_fork_while_another_thread_records(monkeypatch: pytest.MonkeyPatch) -> None:
    net = lm.onnx.load(staged())
    held, done = threading.Event(), threading.Event()
    ids = np.array([0, 1])

    def slow(*arguments: Any) -> Any:
        if threading.current_thread() is thread:
            held.set()
            done.wait()
        return apply_rule(*arguments)

    monkeypatch.setattr(stages_module, "apply_rule", slow)
    thread = threading.Thread(target=net, args=(X, ids))
    thread.start()
    assert held.wait(60)
    child = os.fork()
    if child == 0:
        fine = net(X, ids).shape == (2, 3)
        os._exit(0 if fine else 1)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_wrong_arguments_are_named() -> None:
    net = lm.onnx.load(masked_scores())
    with pytest.raises(ShapeError, match=r"x=\(5, 3\)"):
        net(X[:, :3], MASK)
    with pytest.raises(DTypeError, match="mask"):
        net(X, MASK.astype(np.float32))
    with pytest.raises(TypeError, match="one value for each"):
        net(X)
    with pytest.raises(TypeError, match="one value for each"):
        net(X, MASK, other=X)


def test_everything_unsupported_is_one_error() -> None:
    data = build(
        [
            helper.make_node("Conv", ["x", "x"], ["a"], name="first"),
            helper.make_node("NoSuchThing", ["a"], ["b"], name="second", domain="my.domain"),
            helper.make_node("Relu", ["b"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [("y", TensorProto.FLOAT, None)],
    )
    with pytest.raises(UnsupportedError) as caught:
        lm.onnx.load(data)
    for part in ("Conv-20 at 'first'", "NoSuchThing-1 (my.domain) at 'second'"):
        assert part in str(caught.value)


def test_attributes_without_a_rule_are_told_at_load() -> None:
    data = build(
        [
            helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E5M2),
            helper.make_node("Constant", [], ["z"], value_strings=["a"]),
        ],
        [("x", TensorProto.FLOAT, [1])],
        [("y", TensorProto.UNDEFINED, None)],
    )
    with pytest.raises(UnsupportedError, match=r"Cast-20 to float8e5m2 .*Constant-20 of text"):
        lm.onnx.load(data)


def test_in_double_precision() -> None:
    for model, second in ((masked_scores, MASK), (staged, np.array([0, 3, 1]))):
        net = lm.onnx.load(model())
        single = net(X, second)
        double = net.double()(X.astype(np.float64), second)
        first, other = (y[0] if isinstance(y, tuple) else y for y in (single, double))
        assert other.dtype == np.float64
        # Sums of four terms in float32.
        np.testing.assert_allclose(first, other, rtol=1e-5, atol=1e-5)


def test_functions_are_expanded() -> None:
    opset = helper.make_opsetid("", 20)
    body = [
        helper.make_node("Mul", ["a", "a"], ["square"]),
        helper.make_node("Add", ["square", "b"], ["c"]),
    ]
    function = helper.make_function("my", "SquarePlus", ["a", "b"], ["c"], body, [opset])
    outer = helper.make_function(
        "my", "Twice", ["a"], ["c"],
        [helper.make_node("SquarePlus", ["a", "a"], ["t"], domain="my"),
         helper.make_node("SquarePlus", ["t", "a"], ["c"], domain="my")],
        [opset, helper.make_opsetid("my", 1)],
    )  # fmt: skip
    data = build(
        [helper.make_node("Twice", ["x"], ["y"], domain="my")],
        [("x", TensorProto.FLOAT, [3])],
        [("y", TensorProto.FLOAT, [3])],
        functions=[function, outer],
        opsets=[helper.make_opsetid("my", 1)],
    )
    x = np.array([1.0, 2.0, -1.0], np.float32)
    np.testing.assert_array_equal(lm.onnx.load(data)(x), (x * x + x) ** 2 + x)


def test_files_and_limits(tmp_path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(masked_scores())
    same_bits(lm.onnx.load(path)(X, MASK)[0], lm.onnx.load(str(path))(X, MASK)[0])
    with pytest.raises(UnsupportedError, match="larger than allowed"):
        lm.onnx.load(path, max_bytes=10)
    with pytest.raises(FileNotFoundError):
        lm.onnx.load(tmp_path / "none.onnx")


@pytest.mark.parametrize("kind", list(range(1, 14)))
@pytest.mark.parametrize("raw", [False, True])
def test_every_way_to_store_elements(kind: int, raw: bool) -> None:
    if kind == TensorProto.STRING:
        return
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    values = np.array([[0, 1, 3], [2, 1, 0]]).astype(dtype)
    data = values.tobytes() if raw else values.reshape(-1).tolist()
    initializer = helper.make_tensor("w", kind, values.shape, data, raw=raw)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])], "g", [],
        [helper.make_tensor_value_info("y", kind, [2, 3])], [initializer],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    (got,) = lm.onnx.Backend.run_model(model, [])
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, values)


def test_importing_needs_no_onnx() -> None:
    import subprocess
    import sys

    code = (
        "import sys, lamella as lm, numpy as np; lm.onnx.load; "
        "lm.onnx.encode(lm.nn.ReLU(), np.zeros(1)); "
        "assert 'onnx' not in sys.modules and 'google.protobuf' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
