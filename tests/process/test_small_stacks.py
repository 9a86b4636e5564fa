# SPDX-License-Identifier: Apache-2.0
"""Threads with little stack: kernels keep what is under way on it, half a megabyte is enough."""

from __future__ import annotations

import os
import subprocess
import sys

PRODUCTS = """
import threading
import numpy as np
import lamella.functional as F

def multiply():
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        for m, n in ((3, 7), (300, 7), (3, 700), (300, 70), (300, 700)):
            a = np.asarray(rng.integers(-3, 4, (m, 4200)), dtype)
            b = np.asarray(rng.integers(-3, 4, (4200, n)), dtype)
            for x in (a, np.ascontiguousarray(a.T).T):
                for y in (b, np.ascontiguousarray(b.T).T):
                    assert np.array_equal(F.matmul(x, y), a @ b)
    finished.append(True)

finished = []
threading.stack_size(512 * 1024)
thread = threading.Thread(target=multiply)
thread.start()
thread.join()
assert finished
"""


def test_products_of_all_forms(isa):
    environment = {**os.environ, "LAMELLA_ISA": isa, "LAMELLA_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", PRODUCTS], env=environment, check=True, timeout=300)
