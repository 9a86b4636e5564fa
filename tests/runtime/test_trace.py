# SPDX-License-Identifier: Apache-2.0
"""Tracing: paths, threads, and errors that say what is wrong, where, and in whose line."""

from __future__ import annotations

import inspect
import threading

import numpy as np
import pytest

from graphs import Weight, kind, traced
from lamella.errors import DTypeError, ShapeError, UnsupportedError
from lamella.runtime.session import trace
from lamella.runtime.trace import begin, current, current_trace, scope


def test_no_trace_outside():
    assert current_trace() is None
    with pytest.raises(UnsupportedError, match=r"no function is being traced.*test_trace.py, line"):
        current()


def test_a_weight_outside_says_what_to_do():
    with pytest.raises(UnsupportedError, match="Outside, compute with arrays"):
        Weight(np.ones(3)) + 1


def test_paths_are_dotted_and_end_with_their_block():
    with begin() as context:
        with scope("encoder"), scope("fc1"):
            assert context.path == "encoder.fc1"
        assert context.path == ""
        with pytest.raises(ZeroDivisionError), scope("broken"):
            raise ZeroDivisionError
        assert context.path == ""
    assert current_trace() is None


def test_nodes_remember_their_module():
    def body(x):
        with scope("act"):
            return x.relu() + 1

    assert [node.path for node in traced(body, kind(3)).nodes] == ["act", "act"]


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (
            lambda x: x @ np.ones((64, 128), np.float32),
            ShapeError,
            "matmul: inner sizes differ; got x=(32, 100), w=(64, 128);"
            " expected x.shape[-1] == w.shape[0] (at encoder.fc1)",
        ),
        (
            lambda x: x + np.ones((3, 7), np.float32),
            ShapeError,
            "add: shapes do not broadcast; got x=(32, 100), y=(3, 7);"
            " expected extents equal or one, counted from the last axis (at encoder.fc1)",
        ),
        (
            lambda x: x @ np.ones((100, 4), np.int64),
            DTypeError,
            "matmul: element types do not fit; got x=float32, w=int64;"
            " expected float32 or float64 everywhere. Convert integers and booleans with"
            " astype(np.float32) or .float() (at encoder.fc1)",
        ),
    ],
)
def test_errors_say_what_and_where(wrong, error, text):
    def body(x):
        with scope("encoder"), scope("fc1"):
            return wrong(x)

    with pytest.raises(error) as caught:
        traced(body, kind(32, 100))
    assert str(caught.value) == text
    assert isinstance(caught.value, ValueError if error is ShapeError else TypeError)


@pytest.mark.parametrize(
    "question",
    [
        bool,
        float,
        int,
        np.asarray,
        lambda x: x.item(),
        lambda x: x.numpy(),
        lambda x: 1 if x else 2,
        lambda x: range(10)[x],
        lambda x: x and x,
    ],
)
def test_questions_about_elements_name_the_line(question):
    def body(x):
        return question(x.sum())

    line = inspect.getsourcelines(question)[1] if question.__name__ == "<lambda>" else None
    with pytest.raises(UnsupportedError, match="elements of a tensor are not known") as caught:
        traced(body, kind(3))
    assert "test_trace.py, line" in str(caught.value)
    assert "float32 ()" in str(caught.value)
    assert line is None or "line 0" not in str(caught.value)


def test_the_line_is_the_users():
    def body(x):
        if x.sum() > 0:  # the line
            return x
        return -x

    source, first = inspect.getsourcelines(body)
    line = first + next(number for number, text in enumerate(source) if "the line" in text)
    with pytest.raises(UnsupportedError, match=rf"\(test_trace\.py, line {line}\)"):
        traced(body, kind(3))


def test_tensors_of_another_trace_are_refused():
    kept = []
    traced(lambda x: kept.append(x) or x, kind(3))
    with pytest.raises(UnsupportedError, match="kept from another trace"):
        traced(lambda x: x + kept[0], kind(3))


def test_traces_of_threads_are_apart():
    inside = threading.Event()
    done = threading.Event()
    seen = []

    def other():
        inside.wait()
        seen.append(current_trace())
        done.set()

    thread = threading.Thread(target=other)
    thread.start()

    def body(x):
        inside.set()
        assert done.wait(10)
        return x

    traced(body, kind(3))
    thread.join()
    assert seen == [None]


def test_traces_nest():
    def body(x):
        inner, _ = trace(lambda y: y.exp(), [kind(2)])
        assert len(inner.nodes) == 1
        return x.relu()

    assert [str(node.op) for node in traced(body, kind(3)).nodes] == ["relu"]


def test_streams_are_different():
    with begin() as context:
        assert [context.stream() for _ in range(3)] == [0, 1, 2]


def test_updates_must_fit_and_the_last_one_counts():
    state = Weight(np.zeros(3, np.float32), "mean")

    def body(x):
        current().update(state, x)
        current().update(state, x * 2)
        return x

    graph = traced(body, kind(3))
    assert [str(value.node.op) for _, value in graph.updates] == ["mul"]
    with pytest.raises(ShapeError, match=r"update: value and storage differ; got mean=float32 \(4"):
        traced(lambda x: current().update(state, x), kind(4))


def test_arrays_in_a_trace_are_copied():
    table = np.ones(3, np.float32)
    graph = traced(lambda x: x + table, kind(3))
    table[:] = 7
    assert np.array_equal(graph.nodes[0].inputs[1].array, np.ones(3))
