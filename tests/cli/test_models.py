# SPDX-License-Identifier: Apache-2.0
"""`lamella run`, `summary`, `profile` and `bench` on ONNX files: answers, texts, exit status."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lamella as lm
from lamella import cli, nn
from lamella.benchmarks.tasks.model import OnnxModel

X = np.random.default_rng(0).standard_normal((5, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three models: one output, two of each, and one with integers at run time."""
    folder = tmp_path_factory.mktemp("models")
    net = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 3)).eval()
    lm.onnx.save(net, folder / "net.onnx", X)
    np.save(folder / "x.npy", X)
    two = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Mul", ["a", "b"], ["p"])],
        "two",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", 2]) for n in "ab"],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", 2]) for n in ("sum", "p")],
    )
    write(folder / "two.onnx", two)
    staged = helper.make_graph(
        [
            helper.make_node("ArgMax", ["x"], ["i"], axis=1, keepdims=0),
            helper.make_node("GreaterOrEqual", ["i", "zero"], ["kept"]),
            helper.make_node("Compress", ["i", "kept"], ["some"]),
            helper.make_node("Mul", ["some", "three"], ["t"]),
            helper.make_node("Cast", ["t"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Exp", ["f"], ["y"]),
        ],
        "staged",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "m"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.array(n, np.int64), k) for n, k in ((0, "zero"), (3, "three"))],
    )
    write(folder / "staged.onnx", staged)
    return folder


def write(path: Path, graph: object) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a command that ends with 2."""
    assert cli.main([str(one) for one in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith(f"lamella {arguments[0]}: ")
    return line


def done(*arguments: object) -> None:
    assert cli.main([str(one) for one in arguments]) == 0


class TestRun:
    def test_the_bits_of_the_model(self, files: Path, tmp_path: Path) -> None:
        y = tmp_path / "y.npy"
        done("run", files / "net.onnx", "--input", files / "x.npy", "--output", y)
        np.testing.assert_array_equal(np.load(y), lm.onnx.load(files / "net.onnx")(X))

    def test_names_and_archives(self, files: Path, tmp_path: Path) -> None:
        a, b = X[:, :2], X[:, 2:4]
        np.save(tmp_path / "a.npy", a)
        np.save(tmp_path / "b.npy", b)
        np.savez(tmp_path / "in.npz", b=b, a=a)
        model, out = files / "two.onnx", tmp_path / "out.npz"
        forms = (
            [f"b={tmp_path / 'b.npy'}", f"a={tmp_path / 'a.npy'}"],
            [tmp_path / "a.npy", tmp_path / "b.npy"],
            [f"b={tmp_path / 'b.npy'}", tmp_path / "a.npy"],
            [tmp_path / "in.npz"],
        )
        for form in forms:
            done("run", model, "--input", *form, "--output", out, f"p={tmp_path / 'p.npy'}")
            with np.load(out) as found:
                np.testing.assert_array_equal(found["sum"], a + b)
                np.testing.assert_array_equal(found["p"], a * b)
            np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), a * b)
            (tmp_path / "p.npy").unlink()
        first, second = tmp_path / "1.npy", tmp_path / "2.npy"
        done("run", model, "--input", tmp_path / "in.npz", "--output", first, second)
        np.testing.assert_array_equal(np.load(first), a + b)
        np.testing.assert_array_equal(np.load(second), a * b)

    def test_without_output_it_shows_shapes(
        self, files: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        done("run", files / "net.onnx", "--input", files / "x.npy")
        assert capsys.readouterr().out == "output: float32 (5, 3)\n"

    def test_refusals(
        self, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model, x = files / "net.onnx", files / "x.npy"
        wide, odd, empty = tmp_path / "w.npy", tmp_path / "o.npy", tmp_path / "e.npy"
        np.save(wide, np.zeros((2, 13), np.float32))
        np.save(odd, np.array([{}], object), allow_pickle=True)
        empty.write_bytes(b"")
        lines = {
            "no array for input 'x'": (model,),
            "No such file": (tmp_path / "none.onnx", "--input", x),
            "expected (batch, 12)": (model, "--input", wide),
            "allow_pickle": (model, "--input", odd),
            "No data left in file": (model, "--input", empty),
            "one array too many": (model, "--input", x, x),
            "given twice": (model, "--input", f"x={x}", f"x={x}"),
            "no name 'z'": (model, "--input", f"z={x}"),
            "no name 'q'": (model, "--input", x, "--output", "q=y.npy"),
            "cannot write 'y.txt'": (model, "--input", x, "--output", "y.txt"),
            "one file too many": (model, "--input", x, "--output", "y.npy", "z.npy"),
            "ModelProto": (x, "--input", x),
        }
        for text, arguments in lines.items():
            assert text in refused(capsys, "run", *arguments)
        assert not list(tmp_path.glob("y*"))

    def test_a_model_in_stages(self, files: Path, tmp_path: Path) -> None:
        y = tmp_path / "y.npy"
        done("run", files / "staged.onnx", "--input", files / "x.npy", "--output", y)
        exact = np.exp(3.0 * X.argmax(1).astype(np.float64))
        # exp within one unit in the last place.
        np.testing.assert_allclose(np.load(y), exact, rtol=2.0**-23, atol=0)


class TestSummary:
    def test_numbers(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        done("summary", files / "net.onnx", "--shape", "x=4,12", "--json")
        found = json.loads(capsys.readouterr().out)
        assert found["inputs"] == {"x": [4, 12]}
        assert found["total_params"] == 12 * 8 + 8 + 2 * 8 + 8 * 3 + 3
        assert found["total_macs"] == 4 * (12 * 8 + 8 * 3)
        assert found["declared"] == {"x": ["batch", 12]}
        assert found["activation_bytes"] >= 4 * 4 * (8 + 8 + 3)
        done("summary", files / "net.onnx", "--batch", "4")
        text = capsys.readouterr().out
        assert "input x: float32 (batch, 12), here (4, 12)" in text
        assert "activations 0 B" not in text
        assert f"{found['total_macs']:,}" in text

    def test_every_node_is_a_row(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        done("summary", files / "net.onnx", "--batch", "4", "--json")
        rows = json.loads(capsys.readouterr().out)["rows"]
        nodes = list(onnx.load(files / "net.onnx").graph.node)
        assert [row["path"] for row in rows[1:]] == [node.name for node in nodes]
        assert [row["kind"] for row in rows] == ["Model", *(node.op_type for node in nodes)]
        found = {row["path"]: row for row in rows}
        assert found["0/Gemm"]["parameters"] == 12 * 8
        assert found["0/Gemm"]["macs"] == 4 * 12 * 8
        assert found["0/Add"]["parameters"] == 8
        assert found["2/LayerNormalization"]["parameters"] == 16
        assert found["3/Gemm"]["output"] == [[4, 3]]
        assert found[""]["output"] == [[4, 3]]
        assert found[""]["parameters"] == found[""]["macs"] == 0
        done("summary", files / "net.onnx", "--batch", "4")
        text = capsys.readouterr().out
        assert "\n  0: Gemm                (4, 8)          96   384    384\n" in text
        assert "_Group" not in text

    def test_nodes_without_names(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        done("summary", files / "two.onnx", "--shape", "a=3,2", "b=3,2")
        text = capsys.readouterr().out
        assert "\n  Add_1: Add  (3, 2)" in text
        assert "\n  Mul_1: Mul  (3, 2)" in text

    def test_refusals(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "--shape x=N,N" in refused(capsys, "summary", files / "staged.onnx")
        assert "not a shape" in refused(capsys, "summary", files / "net.onnx", "--shape", "x=a,b")
        assert "no such input" in refused(capsys, "summary", files / "net.onnx", "--shape", "z=1")
        wrong = ("summary", files / "net.onnx", "--shape", "4,13")
        assert "expected (batch, 12)" in refused(capsys, *wrong)
        staged = ("summary", files / "staged.onnx", "--shape", "4,12")
        assert "runs in stages" in refused(capsys, *staged)


class TestProfile:
    def test_every_step_beside_its_limit(
        self, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        trace, out = tmp_path / "t.json", tmp_path / "p.json"
        quick = ("--batch", 16, "--seconds", 0.01, "--threads", lm.get_num_threads())
        done("profile", files / "net.onnx", *quick, "--trace", trace, "--json", out)
        text = capsys.readouterr().out
        found = json.loads(out.read_text())
        steps = found["steps"]
        products = [step for step in steps if step["flops"]]
        assert [step["flops"] for step in products] == [2 * 16 * 12 * 8, 2 * 16 * 8 * 3]
        assert found["call"]["flops"] == sum(step["flops"] for step in products)
        assert found["inputs"] == {"x": [16, 12]}
        assert any("layer_norm" in step["op"] for step in steps)
        for step in (*steps, found["call"]):
            assert step["seconds"] >= 0
            assert step["limit_seconds"] > 0
        assert found["call"]["seconds"] > 0
        assert all(step["op"] in text for step in steps)
        assert "a call from Python" in text
        events = json.loads(trace.read_text())["traceEvents"]
        assert [step["path"] for step in steps] == ["0 + 1", "2", "3"]
        assert "dense(w.mT, bias, relu)  # 0 + 1 " in text
        call, *below = events
        assert [event["args"]["path"] for event in below] == [
            step["path"] for step in steps for _ in step["kernels"]
        ]
        assert call["name"] == "call"
        assert [event["name"] for event in below] == [
            step["op"] for step in steps for _ in step["kernels"]
        ]
        for event, following in zip(below, [*below[1:], None], strict=True):
            assert event["ph"] == "X"
            end = event["ts"] + event["dur"]
            # Sums of float64 microseconds.
            limit = following["ts"] if following else call["dur"]
            assert call["ts"] <= event["ts"] <= end <= limit * (1 + 1e-12) + 1e-9

    def test_given_inputs_and_standard_output(
        self, files: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        x = files / "x.npy"
        done("profile", files / "net.onnx", "--input", x, "--seconds", 0.01, "--json", "-")
        assert json.loads(capsys.readouterr().out)["inputs"] == {"x": [5, 12]}

    def test_a_model_in_stages_says_what_is_timed(
        self, files: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        staged = ("profile", files / "staged.onnx", "--shape", "5,12", "--seconds", 0.01)
        done(*staged)
        captured = capsys.readouterr()
        assert "The whole call is timed, not its steps" in captured.err
        assert "a call from Python" in captured.out
        assert "all steps" not in captured.out

    def test_refusals(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        net = files / "net.onnx"
        assert "seconds" in refused(capsys, "profile", net, "--seconds", "0")
        assert "--batch 0" in refused(capsys, "profile", net, "--batch", "0")
        assert "(batch, 12)" in refused(capsys, "profile", net, "--shape", "2,3")
        assert "thread" in refused(capsys, "profile", net, "--threads", "0")


class TestBench:
    quick = ("--threads", "1", "--rounds", "1", "--seconds", "0.0001")

    def test_a_file_against_what_runs_files(
        self, files: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        net = files / "net.onnx"
        done("bench", net, "--batch", 1, 3, *self.quick, "--json", "-")
        found = json.loads(capsys.readouterr().out)
        assert [row["task"] for row in found["rows"]] == ["net.onnx, batch 1", "net.onnx, batch 3"]
        runtimes = {"onnxruntime", "onnxruntime bound", "onnxruntime no spinning"}
        for row in found["rows"]:
            assert row["times"].keys() >= runtimes | {"lamella"}
        assert found["versions"].keys() == {*runtimes, "lamella", "openvino"}

    def test_closed_shapes_are_measured_once(
        self, files: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shape = ("--shape", "x=2,12", "--rivals", "lamella")
        done("bench", files / "net.onnx", *shape, *self.quick, "--json", "-")
        assert len(json.loads(capsys.readouterr().out)["rows"]) == 1

    def test_refusals(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "No such file" in refused(capsys, "bench", files / "none.onnx")
        assert "(batch, 12)" in refused(capsys, "bench", files / "net.onnx", "--shape", "2,3")

    @pytest.mark.parametrize("model", ["net.onnx", "staged.onnx", "two.onnx"])
    def test_a_wrong_answer_is_found(self, files: Path, model: str) -> None:
        shapes = (("x", (5, 12)),) if model == "staged.onnx" else ()
        task = OnnxModel(str(files / model), 5, shapes)
        arrays = task.data()
        answer = task.model()(*arrays.values())
        assert task.error(arrays, answer) <= 1.0
        answers = [np.array(one) for one in (answer if isinstance(answer, tuple) else (answer,))]
        answers[-1].flat[0] += 0.01 * (1 + np.abs(answers[-1]).max())
        assert not task.error(arrays, answers) <= 1.0
        assert not task.error(arrays, [one * np.nan for one in answers]) <= 1.0
        assert not task.error(arrays, answers[:-1]) <= 1.0
