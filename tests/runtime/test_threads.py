# SPDX-License-Identifier: Apache-2.0
"""Threads and processes: how many there are, who may use them, and what a fork leaves.

Whatever may hang runs in an interpreter of its own with a time limit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import programs
from graphs import Weight
from lamella import _core
from lamella.functional import embedding
from lamella.runtime.session import compile_call

TESTS = Path(__file__).parent.parent
N = 1 << 18

# Defines `work`, a program large enough for a team, its input and the bytes it has to give.
PRELUDE = f"""
import os, signal, sys, threading, time
sys.path[:0] = [{str(TESTS)!r}]
import numpy as np
import programs
from lamella import _core
x = np.linspace(-4, 4, {N}, dtype=np.float32)
work = programs.unary("tanh", "float32", ({N},))
_core.set_num_threads(1)
expected = work.run([x])[0].tobytes()
_core.set_num_threads(2)
"""


def run_python(code, *, limit=60, prefix=(), **environment):
    """What a fresh interpreter prints; it has to end well and in time."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "LAMELLA_NUM"))}
    result = subprocess.run(
        [*prefix, sys.executable, "-c", PRELUDE + code],
        capture_output=True,
        text=True,
        env={**kept, **environment},
        timeout=limit,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


CHILD = """
def child(check):
    signal.alarm(20)
    try:
        check()
        os._exit(0)
    except BaseException as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(1)

def fork(check):
    pid = os.fork()
    if pid == 0:
        child(check)
    status = os.waitpid(pid, 0)[1]
    assert status == 0, status

def same():
    assert work.run([x])[0].tobytes() == expected
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestFork:
    def test_while_a_thread_trains(self):
        """The fork waits for the step that runs: the child finds whole parameters, and trains."""
        code = """
from lamella import nn
from lamella.runtime.session import compile_call
from lamella.runtime.trace import current
w = nn.Parameter(np.zeros(1 << 20, np.float32))
step = compile_call(lambda: (current().update(w, w + 1.0), w.max())[1], [])
read = compile_call(lambda: (w.min(), w.max()), [])
stop = False
def train():
    while not stop:
        step.run([])
def check():
    assert w.version[0] >= 0
    low, high = read.run([])
    assert low == high, (low, high)
    step.run([])
    w.data = w.data + 1
    assert (w.array == high + 2).all()
thread = threading.Thread(target=train)
thread.start()
try:
    for _ in range(20):
        fork(check)
finally:
    stop = True
    thread.join()
print("well")
"""
        assert run_python(CHILD + code) == "well"

    def test_after_a_team(self):
        code = """
for _ in range(50):
    same()
    fork(same)
same()
print("done")
"""
        assert run_python(CHILD + code) == "done"

    def test_nested(self):
        code = """
same()
fork(lambda: (same(), fork(same), same()))
same()
print("done")
"""
        assert run_python(CHILD + code) == "done"

    def test_while_another_thread_is_in_a_team(self):
        code = """
stop = threading.Event()
def busy():
    while not stop.is_set():
        same()
other = threading.Thread(target=busy)
other.start()
for _ in range(20):
    fork(same)
stop.set()
other.join()
same()
print("done")
"""
        assert run_python(CHILD + code) == "done"

    def test_spawn(self):
        code = """
import multiprocessing
same()
with multiprocessing.get_context("spawn").Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
same()
print("done")
"""
        assert run_python(CHILD + code) == "done"


def test_sixteen_callers_get_the_serial_bytes(threads):
    x = np.linspace(-4, 4, 1 << 14, dtype=np.float32)
    program = programs.unary("tanh", "float32", x.shape)
    _core.set_num_threads(1)
    expected = program.run([x])[0].tobytes()
    _core.set_num_threads(threads)
    failures = []

    class Tanh(_core.Callable):
        def _dispatch(self, *args, **kwargs):
            failures.append("dispatched")
            return expected

    f = Tanh()
    assert f._remember((x,), (), program, None)

    def call() -> None:
        failures.extend(i for i in range(1000) if f(x).tobytes() != expected)

    callers = [threading.Thread(target=call) for _ in range(16)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not failures


@pytest.mark.skipif(_core.build_info()["backend"] != "openmp", reason="counts libgomp's workers")
def test_callers_do_not_multiply_workers():
    code = """
def call():
    for _ in range(20):
        assert work.run([x])[0].tobytes() == expected
callers = [threading.Thread(target=call) for _ in range(8)]
most = 0
for caller in callers: caller.start()
while any(caller.is_alive() for caller in callers):
    most = max(most, len(os.listdir("/proc/self/task")))
print(most)
"""
    # 8 callers, the main thread, one worker for each of two owners of a pool.
    assert int(run_python(code, OPENBLAS_NUM_THREADS="1")) <= 8 + 1 + 2


class TestPlan:
    """A small look-up, two products and another look-up: one member's, shared, one member's."""

    @pytest.fixture
    def compiled(self, rng):
        x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((8, 512), (512, 512)))

        def body(first, second):
            rows = embedding(first, np_x)
            return embedding(second, rows @ np_w @ np_w)

        np_x, np_w = Weight(x), Weight(w)
        return compile_call(body, (np.zeros(32, np.int64), np.zeros(3, np.int64)))

    @pytest.mark.parametrize("count", [1, 2, 3, 7])
    def test_failures_of_one_member_stop_all(self, compiled, count):
        run = compiled.program.run
        first, second = np.arange(32) % 8, np.array([0, 31, 5])
        before = _core.num_threads()
        try:
            _core.set_num_threads(1)
            expected = run([first, second])[0].tobytes()
            _core.set_num_threads(count)
            for _ in range(50):
                assert run([first, second])[0].tobytes() == expected
                with pytest.raises(IndexError, match="got 9;"):
                    run([np.full(32, 9), second])
                with pytest.raises(IndexError, match="got 32;"):
                    run([first, np.full(3, 32)])
                # The earlier step's failure is the one that is told.
                with pytest.raises(IndexError, match="got 9;"):
                    run([np.full(32, 9), np.full(3, 32)])
        finally:
            _core.set_num_threads(before)


class TestCount:
    def test_is_set(self, threads):
        assert _core.num_threads() == threads

    @pytest.mark.parametrize("count", [0, -1, 1025])
    def test_wrong_counts(self, count):
        with pytest.raises(ValueError, match=f"got {count}; expected a number from 1"):
            _core.set_num_threads(count)

    @pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
    def test_does_not_change_a_bit(self, count):
        x = np.linspace(-4, 4, N + 5, dtype=np.float32)
        program = programs.unary("erf", "float32", x.shape)
        before = _core.num_threads()
        try:
            _core.set_num_threads(1)
            expected = program.run([x])[0]
            _core.set_num_threads(count)
            np.testing.assert_array_equal(program.run([x])[0], expected)
        finally:
            _core.set_num_threads(before)

    @pytest.mark.parametrize(
        ("environment", "reason"),
        [
            ({"LAMELLA_NUM_THREADS": "1"}, "LAMELLA_NUM_THREADS"),
            ({"OMP_NUM_THREADS": "1,2"}, "OMP_NUM_THREADS"),
            ({"OMP_THREAD_LIMIT": "1"}, "OMP_THREAD_LIMIT"),
        ],
    )
    def test_environment(self, environment, reason):
        code = """
limits = _core.default_threads()
print(limits["chosen"], limits["reason"])
assert work.run([x])[0].tobytes() == expected
"""
        answer = run_python(code, **environment)
        cores = len(os.sched_getaffinity(0))
        assert answer == (f"1 {reason}" if cores > 1 else "1 affinity mask")

    @pytest.mark.parametrize("text", ["", "zero", "-2", "0", "1e9", "99999999999999999999"])
    def test_environment_that_says_nothing(self, text):
        answer = run_python("print(_core.default_threads())", LAMELLA_NUM_THREADS=text)
        assert "'LAMELLA_NUM_THREADS': None" in answer

    @pytest.mark.skipif(not shutil.which("taskset"), reason="needs taskset")
    def test_affinity(self):
        first = str(min(os.sched_getaffinity(0)))
        code = "print(_core.default_threads()['chosen'], _core.default_threads()['reason'])"
        assert run_python(code, prefix=("taskset", "-c", first)) == "1 affinity mask"


def control_groups(root, groups, files):
    """A tree as the kernel shows it: /proc/self/cgroup and files below /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return _core.default_threads(str(root))["cgroup"]


V2 = "0::/app/job\n"
V1 = "12:memory:/app\n4:cpu,cpuacct:/app/job\n3:cpuset:/\n"


@pytest.mark.parametrize(
    ("groups", "files", "cpus"),
    [
        (V2, {"app/job/cpu.max": "150000 100000\n"}, 2),
        (V2, {"app/job/cpu.max": "max 100000\n"}, None),
        (V2, {"app/job/cpu.max": "max 100000\n", "app/cpu.max": "50000 100000\n"}, 1),
        (V2, {"app/job/cpu.max": "800000 100000\n", "app/cpu.max": "300000 100000\n"}, 3),
        (V2, {"cpu.max": "100000 100000\n"}, 1),
        (V2, {"app/job/cpu.max": "100001 100000\n"}, 2),
        (V2, {"app/job/cpu.max": "nonsense\n"}, None),
        (V2, {"app/job/cpu.max": "100000 0\n"}, None),
        (V2, {}, None),
        ("0::/../elsewhere\n", {"cpu.max": "100000 100000\n"}, None),
        ("nonsense\n", {"cpu.max": "100000 100000\n"}, None),
        ("", {}, None),
        (
            V1,
            {
                "cpu,cpuacct/app/job/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/app/job/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (V1, {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        (V1 + "0::/\n", {"unified/cpu.max": "200000 100000\n"}, 2),
    ],
)
def test_control_groups(tmp_path, groups, files, cpus):
    assert control_groups(tmp_path, groups, files) == cpus


def test_a_quota_limits_the_default(tmp_path):
    control_groups(tmp_path, V2, {"app/job/cpu.max": "50000 100000\n"})
    limits = _core.default_threads(str(tmp_path))
    assert limits["chosen"] == 1
    if limits["affinity"] > 1:
        assert limits["reason"] == "CPU quota of the control group"


@pytest.mark.skipif(_core.build_info()["backend"] != "openmp", reason="limits OpenMP")
def test_threadpoolctl_limits_us():
    code = """
import threadpoolctl
from lamella import _core
_core.set_num_threads(2)
with threadpoolctl.threadpool_limits(limits=1, user_api="openmp"):
    print(_core.num_threads())
print(_core.num_threads())
"""
    # Given in the environment, since on one processor a limit of one changes nothing.
    assert run_python(code, OMP_NUM_THREADS="2").split() == ["1", "2"]


@pytest.mark.skipif(_core.build_info()["backend"] != "openmp", reason="limits OpenMP")
@pytest.mark.parametrize("first", ["OpenMP lowered", "lamella imported"])
def test_lowering_openmp_counts_before_and_after_the_import(first):
    """As torch.set_num_threads does it where both use one libgomp; for the calling thread."""
    lower = "openmp.omp_set_num_threads(1)"
    lines = [lower, "import lamella as lm"]
    program = "\n".join(
        [
            "import ctypes, threading",
            "openmp = ctypes.CDLL('libgomp.so.1')",
            *(lines if first == "OpenMP lowered" else reversed(lines)),
            "lm.set_num_threads(2)",
            "print(lm.get_num_threads(), lm.config()['threads']['omp_set_num_threads'])",
            "print(lm.config()['threads']['reason'].split()[0])",
            "other = threading.Thread(target=lambda: print(lm.get_num_threads()))",
            "other.start(), other.join()",
            "openmp.omp_set_num_threads(2)",
            "print(lm.get_num_threads(), lm.config()['threads']['omp_set_num_threads'])",
        ]
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LAMELLA_NUM")}
    environment = {**kept, "OMP_NUM_THREADS": "2"}
    told = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    # On one processor the default is one too, and so nothing was lowered.
    cores = len(os.sched_getaffinity(0))
    reason = "OpenMP's" if cores > 1 else "affinity"
    assert [told[0], told[1], *told[-3:]] == ["1", "1", "2", "2", "None"]
    assert told[2] == reason


def test_exit_while_a_thread_computes():
    code = """
def forever():
    while True:
        work.run([x])
threading.Thread(target=forever, daemon=True).start()
time.sleep(0.05)
print("done")
"""
    for _ in range(5):
        assert run_python(code) == "done"
