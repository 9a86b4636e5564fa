# SPDX-License-Identifier: Apache-2.0
"""Loads the native core, with short patience for libgomp's idle threads, and the rooms behind it.

After a parallel region libgomp's workers spin for some 8 ms in case another one follows, and
whoever wants their cores meanwhile has to wait. 4,000 turns are about 0.1 ms. libgomp reads the
number from the environment once, when it is loaded, so it stands there just that long; a user's own
choice, and a libgomp that is already loaded, are left alone.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

SPIN_COUNT = "4000"

chosen = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
if not chosen:
    os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
try:
    from lamella import _core  # noqa: F401
finally:
    if not chosen:
        del os.environ["GOMP_SPINCOUNT"]


@contextmanager
def uncollected() -> Iterator[None]:
    """Keeps Python's collector from walking through what modules make: nothing of it is garbage."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            # Counted as old, or the next allocation would begin with a walk through all of it.
            if gc.get_freeze_count() == 0:
                gc.freeze()
                gc.unfreeze()
            gc.enable()
