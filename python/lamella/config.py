# SPDX-License-Identifier: Apache-2.0
"""What this installation is and does: versions, instruction sets, caches, threads, and the seeds.

The environment is read once, at import: LAMELLA_ISA chooses the kernels, LAMELLA_NUM_THREADS or
OMP_NUM_THREADS the number of threads.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from lamella import _core
from lamella.errors import message
from lamella.nn import compiled, init
from lamella.runtime import programs

__all__ = [
    "clear_cache",
    "config",
    "get_cache_bytes",
    "get_num_threads",
    "manual_seed",
    "set_cache_bytes",
    "set_num_threads",
    "show_config",
]


def config() -> dict[str, Any]:
    """What show_config prints, as a dictionary of dictionaries.

    >>> import lamella as lm
    >>> sorted(lm.config())
    ['build', 'caches', 'instruction sets', 'programs', 'threads', 'versions']
    """
    build = dict(_core.build_info())
    return {
        "versions": {
            "lamella": build.pop("version"),
            "numpy": np.__version__,
            "python": ".".join(map(str, sys.version_info[:3])),
        },
        "build": build,
        "instruction sets": {"in use": _core.isa(), "runnable here": ", ".join(_core.isas())},
        "caches": {level: _bytes(size) for level, size in _core.cache_sizes().items()},
        "programs": _programs(),
        "threads": _threads(),
    }


def _threads() -> dict[str, Any]:
    """What limits threads; the reason is that of the number in use, not of the default."""
    used, limits = _core.num_threads(), dict(_core.default_threads())
    if used == limits["omp_set_num_threads"] != limits["chosen"]:
        limits["reason"] = "OpenMP's number in this thread (torch.set_num_threads, threadpoolctl)"
    elif used != limits["chosen"]:
        limits["reason"] = "set_num_threads"
    return {"in use": used, **limits}


def _programs() -> dict[str, Any]:
    count, nbytes = programs.held()
    prepared, prepared_bytes = _core.prepared_arrays()
    return {
        "kept": count,
        "bytes": nbytes,
        "at most": _bytes(programs.limit()),
        "packed and folded weights": prepared,
        "bytes of those": prepared_bytes,
    }


def _bytes(size: int) -> str:
    for unit, scale in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= scale and size % scale == 0:
            return f"{size // scale} {unit}"
    return f"{size} B"


def show_config() -> None:
    """Prints versions, compiler, instruction sets, caches, programs, threads and the reason why."""
    for section, entries in config().items():
        print(section)
        width = max(map(len, map(str, entries)), default=0)
        for name, value in entries.items():
            print(f"  {name!s:<{width}}  {value}")


def set_num_threads(count: int) -> None:
    """Sets how many threads a large program may use; small ones run on one.

    A lower number of OpenMP's in the calling thread (torch.set_num_threads, threadpoolctl) bounds
    it, whether it was set before lamella was imported or after.

    Parameters: count >= 1. Raises: TypeError, ValueError.

    >>> import lamella as lm
    >>> lm.set_num_threads(lm.get_num_threads())
    """
    _core.set_num_threads(_whole("set_num_threads", "count", count, 1))


def get_num_threads() -> int:
    """How many threads a large program may use.

    >>> import lamella as lm
    >>> lm.get_num_threads() >= 1
    True
    """
    return int(_core.num_threads())


def set_cache_bytes(nbytes: int) -> None:
    """Sets how many bytes compiled programs may take together; 256 MiB unless it is set.

    A program serves one structure of a net and one shape and type of its inputs. It takes some
    10 kB for a small net and 300 kB for a transformer of 12 blocks; weights and the memory that a
    run takes are no part of that. Beyond, the one used least lately is dropped, and compiled again
    when it is needed, which is warned of once. With 0 nothing is kept, and every call compiles.

    Parameters: nbytes >= 0. Raises: TypeError, ValueError.

    >>> import lamella as lm
    >>> lm.set_cache_bytes(1 << 30)
    >>> lm.get_cache_bytes()
    1073741824
    >>> lm.set_cache_bytes(256 << 20)
    """
    programs.set_limit(_whole("set_cache_bytes", "nbytes", nbytes, 0))


def get_cache_bytes() -> int:
    """How many bytes compiled programs may take together; show_config tells how many they do.

    >>> import lamella as lm
    >>> lm.get_cache_bytes() >> 20
    256
    """
    return programs.limit()


def manual_seed(seed: int) -> None:
    """Restarts every random generator of lamella: initialisers, dropout.

    The same seed gives the same numbers on every machine and for any number of threads.

    Parameters: seed, 0 <= seed < 2**64. Raises: TypeError, ValueError.

    >>> import lamella as lm
    >>> lm.manual_seed(0)
    """
    value = _whole("manual_seed", "seed", seed, 0, 2**64)
    init.seed(value)
    _core.seed(value)


def _whole(op: str, name: str, value: Any, low: int, high: int | None = None) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(message(op, "not a whole number", {name: repr(value)}, "int"))
    number = int(value.__index__())
    if number < low or (high is not None and number >= high):
        below = "" if high is None else f" < {high}"
        raise ValueError(message(op, "out of range", {name: number}, f"{low} <= {name}{below}"))
    return number


def clear_cache() -> None:
    """Forgets every compiled program; later calls compile anew.

    Useful to give memory back, and after something that lamella cannot see has changed
    (docs/sharp_bits.md).

    >>> import lamella as lm
    >>> lm.clear_cache()
    """
    programs.clear()
    compiled.clear()
