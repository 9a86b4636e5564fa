# SPDX-License-Identifier: Apache-2.0
"""A script that forks while another thread makes what a program has prepared again and again.

It goes behind one that defines `net`, whose answer to ones (1, SIZE) is SIZE times the value that
all elements of `stored` have. It prints "well".
"""

FORKS = """
import os, signal, threading, time
import numpy as np
values = [np.full((SIZE, SIZE), value, np.float32) for value in (1.0, 2.0)]
stored.data = values[0]
ones = np.ones((1, SIZE), np.float32)
net(ones)
stop = threading.Event()
def churn():
    step = 0
    while not stop.is_set():
        step += 1
        stored.data = values[step % 2]
        assert (net(ones) == SIZE * (step % 2 + 1)).all()
thread = threading.Thread(target=churn)
thread.start()
for round in range(20):
    time.sleep(0.001 * (round % 5))
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        ok = False
        try:
            first = net(ones)
            ok = bool((first == first[0, 0]).all()) and first[0, 0] in (SIZE, 2 * SIZE)
            stored.data = 3 * values[0]
            ok = ok and bool((net(ones) == 3 * SIZE).all())
        finally:
            os._exit(0 if ok else 1)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
thread.join()
print("well")
"""
