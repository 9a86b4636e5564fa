# SPDX-License-Identifier: Apache-2.0
"""Checks what `make wheel` made: sizes, contents, import and compile time, resident memory.

Run by the python of a fresh environment in which nothing but the wheel was installed, with the
folder of the sdist and the wheel as argument. Times are measured here and not in the test suite,
which holds no timed test: the best of many interpreter starts, with and without lamella.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

MAX_WHEEL_BYTES = 5_000_000
# Texts alone, a quarter of them tests: more would be something that was built or downloaded.
MAX_SDIST_BYTES = 2_000_000
MAX_IMPORT_SECONDS = 0.060
MAX_COMPILE_SECONDS = 0.100
MAX_RESIDENT_BYTES = 15_000_000
STARTS = 15

PROBE = """
import resource, time
import numpy
with open("/proc/self/statm") as f: before = int(f.read().split()[1])
start = time.perf_counter()
{statement}
elapsed = time.perf_counter() - start
with open("/proc/self/statm") as f: after = int(f.read().split()[1])
print(elapsed, (after - before) * resource.getpagesize())
"""

FORWARD = """
import numpy as np, lamella as lm
net = lm.nn.Sequential(lm.nn.Linear(8, 4), lm.nn.ReLU(), lm.nn.Linear(4, 2))
assert net(np.ones((3, 8), np.float32)).shape == (3, 2)
"""

# 504 nodes: seven to each of 72 residual layers.
COMPILE = """
import time, numpy as np, lamella as lm
from lamella import nn
layers = [nn.Linear(16, 16) for _ in range(72)]
def net(x):
    for layer in layers:
        h = (x @ layer.weight.T + layer.bias).relu()
        x = (x + h * 0.5).tanh()
    return x
def seconds():
    start = time.perf_counter()
    lm.compile(net, np.ones((4, 16), np.float32))
    return time.perf_counter() - start
print(min(seconds() for _ in range(9)))
"""


def compile_seconds() -> float:
    """Seconds to compile a graph of 504 nodes, the best of nine."""
    run = subprocess.run(
        [sys.executable, "-c", COMPILE], check=True, capture_output=True, text=True
    )
    return float(run.stdout)


def import_cost() -> tuple[float, int]:
    """Seconds and bytes that `import lamella` adds to an interpreter that has imported NumPy."""
    results = []
    for _ in range(STARTS):
        run = subprocess.run(
            [sys.executable, "-c", PROBE.format(statement="import lamella")],
            check=True,
            capture_output=True,
            text=True,
        )
        elapsed, size = run.stdout.split()
        results.append((float(elapsed), int(size)))
    return min(elapsed for elapsed, _ in results), min(size for _, size in results)


def main() -> int:
    """Prints a line a check; 1 when one of them failed."""
    folder = Path(sys.argv[1])
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    with tarfile.open(sdist) as archive:
        sources = archive.getnames()
    subprocess.run([sys.executable, "-c", FORWARD], check=True)
    seconds, resident = import_cost()
    compiling = compile_seconds()
    checks = {
        f"wheel {wheel.stat().st_size / 1e6:.2f} MB": wheel.stat().st_size <= MAX_WHEEL_BYTES,
        f"sdist {sdist.stat().st_size / 1e6:.2f} MB": sdist.stat().st_size <= MAX_SDIST_BYTES,
        f"import {seconds * 1e3:.1f} ms over NumPy": seconds <= MAX_IMPORT_SECONDS,
        f"504 nodes compiled in {compiling * 1e3:.1f} ms": compiling <= MAX_COMPILE_SECONDS,
        f"memory {resident / 1e6:.1f} MB over NumPy": resident <= MAX_RESIDENT_BYTES,
        "wheel holds py.typed": "lamella/py.typed" in names,
        "wheel holds _core.pyi": "lamella/_core.pyi" in names,
        "wheel holds the licence": any(name.endswith("licenses/LICENSE") for name in names),
        "wheel holds nothing else": all(n.startswith(("lamella/", "lamella-")) for n in names),
        "sdist holds the sources": any(name.endswith("cpp/isa.cmake") for name in sources),
    }
    for text, good in checks.items():
        print(f"{'ok    ' if good else 'FAILED'}  {text}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
