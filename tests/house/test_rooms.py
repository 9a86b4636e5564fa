# SPDX-License-Identifier: Apache-2.0
"""Includes and imports only point down the lists of rooms (CONTRIBUTING.md, "Rooms")."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from house.tree import PACKAGE, ROOT, name, sources

CPP_ROOMS = ("base", "simd", "kernels", "dispatch", "steps", "program", "bindings")

# A room may import rooms of a lower floor; rooms of one floor do not know each other.
PYTHON_FLOORS = (
    ("errors",),
    ("habits",),
    ("storage",),
    ("loading",),
    ("ir",),
    ("ops",),
    ("passes",),
    ("runtime",),
    ("functional",),
    ("nn",),
    ("optim",),
    ("train",),
    ("config",),
    ("foreign",),  # what the doors share
    ("onnx", "torch", "sklearn"),
    ("benchmarks",),  # the repository's benchmarks/, installed with the package
    ("cli",),
    ("__main__",),
)
FLOOR = {room: i for i, rooms in enumerate(PYTHON_FLOORS) for room in rooms}

# The compiled module; the rooms before it only name its types, and ops/ makes specs of steps.
CORE_FROM = FLOOR["runtime"]
SPEC = re.compile(r"lamella\._core\.\w+Spec")
CORE_LOADER = "loading"  # makes sure how it is loaded; uses nothing of it

# Who may import a library other than NumPy, and which.
FENCES = {
    "onnx/backend.py": {"onnx"},
    "torch/": {"torch"},
    "sklearn/": {"sklearn", "scipy"},  # scikit-learn brings SciPy: L-BFGS
    "config.py": {"threadpoolctl"},
    "train/history.py": {"matplotlib"},
    "train/callbacks.py": {"matplotlib"},
    "cli/demo.py": {"sklearn", "matplotlib", "threadpoolctl"},
    "cli/training.py": {"sklearn", "torch"},
    "cli/plot.py": {"matplotlib"},
}

DRAWERS = {"utils", "util", "common", "helpers", "helper", "misc", "tools", "lib"}

# Per-ISA units see no inline function that another unit could share (DESIGN.md, "Dispatch").
PLAIN_HEADERS = {"cstddef", "cstdint"}
CHOOSERS = ("simd/vec.h", "simd/dot.h")
INTRINSICS = {"immintrin.h", "emmintrin.h", "xmmintrin.h", "arm_neon.h"}


def includes(text: str) -> list[str]:
    """Every #include of a C++ text, with its brackets or quotes."""
    return re.findall(r'^\s*#\s*include\s+([<"][^>"]+[>"])', text, flags=re.MULTILINE)


def cpp_faults(path: str, text: str) -> list[str]:
    """What the file of this path (below cpp/) includes and must not."""
    room, faults = path.split("/")[0], []
    for include in includes(text):
        target = include.strip('<>"')
        if include.startswith("<"):
            if room in ("simd", "kernels"):
                vector_file = re.fullmatch(r"simd/\w+/\w+\.h", path)
                if target not in PLAIN_HEADERS and not (vector_file and target in INTRINSICS):
                    faults.append(f"{include}: only {sorted(PLAIN_HEADERS)} in simd/ and kernels/")
            elif target in INTRINSICS and path != "base/fp_environment.cpp":
                faults.append(f"{include}: intrinsics live in simd/<isa>/")
            if target == "omp.h" and path != "base/parallel.cpp":
                faults.append("<omp.h>: base/parallel.cpp is the only reader")
            if target.startswith(("pybind11", "Python.h", "numpy")) and room != "bindings":
                faults.append(f"{include}: Python ends at bindings/")
            continue
        target_room, own = target.split("/")[0], path.rpartition("/")[0]
        if re.fullmatch(r"simd/\w+/\w+\.h", target) and own != target.rpartition("/")[0]:
            # simd/x86/ is for all instruction sets of that processor.
            shared = target.startswith("simd/x86/") and re.fullmatch(r"simd/\w+", own)
            if not shared and (path not in CHOOSERS or not target.endswith(path[4:])):
                faults.append(f"{include}: {CHOOSERS} choose the instruction set, nobody else")
        elif target_room not in CPP_ROOMS:
            faults.append(f"{include}: not rooted at cpp/")
        elif room == target_room:
            continue
        elif CPP_ROOMS.index(target_room) > CPP_ROOMS.index(room):
            faults.append(f"{include}: {target_room} is not below {room}")
        elif room in ("simd", "kernels") and target_room == "base":
            faults.append(f"{include}: simd and kernels know nothing of base")
        elif target_room == "simd" and room != "kernels":
            faults.append(f"{include}: only kernels may include simd")
        elif target_room == "kernels" and target not in ("kernels/table.h", "kernels/element.h"):
            faults.append(f"{include}: kernels/table.h and element.h are the only way in")
    return faults


@pytest.mark.parametrize("path", sources("cpp", suffixes=(".h", ".cpp")), ids=name)
def test_includes_point_down(path: Path) -> None:
    assert cpp_faults(path.relative_to(ROOT / "cpp").as_posix(), path.read_text()) == []


def module_path(dotted: str) -> Path | None:
    """The file of a module of the package, None for what is not a module."""
    base = PACKAGE.joinpath(*dotted.split(".")[1:])
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if dotted != "lamella" and candidate.exists():
            return candidate
    return None


def imports(tree: ast.AST, *, typing_only: bool = False) -> Iterator[tuple[str, bool]]:
    """Every imported module as a dotted name, and whether only the type checker sees it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, typing_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                dotted = f"{module}.{alias.name}"
                known = module.startswith("lamella") and (
                    module_path(dotted) or dotted.startswith("lamella._core")
                )
                yield (dotted if known else module), typing_only
        else:
            inside = typing_only or (
                isinstance(node, ast.If)
                and isinstance(node.test, ast.Name)
                and node.test.id == "TYPE_CHECKING"
            )
            yield from imports(node, typing_only=inside)


def python_faults(path: str, text: str) -> list[str]:
    """What the file of this path (below the package) imports and must not."""
    room = path.split("/")[0].removesuffix(".py")
    faults = []
    for dotted, typing_only in imports(ast.parse(text)):
        if dotted.startswith("."):
            faults.append(f"{dotted}: imports are absolute")
            continue
        top, _, rest = dotted.partition(".")
        if top != "lamella":
            allowed = {
                library for prefix, names in FENCES.items() if path.startswith(prefix)
                for library in names
            }  # fmt: skip
            if top not in sys.stdlib_module_names | {"numpy"} | allowed:
                faults.append(f"{dotted}: NumPy is the only dependency of {path}")
            continue
        target = rest.split(".")[0]
        if path == "__init__.py":
            if target == "cli":
                faults.append(f"{dotted}: importing lamella must not import the command line")
        elif not target:
            if room not in ("cli", "__main__"):
                faults.append("lamella: rooms import modules, not the package's names")
        elif target == "_core":
            allowed = room == CORE_LOADER or (room == "ops" and SPEC.fullmatch(dotted))
            if FLOOR[room] < CORE_FROM and not allowed and not typing_only:
                faults.append(f"{dotted}: {room} names _core for the type checker only")
        elif target not in FLOOR:
            faults.append(f"{dotted}: {target} is in no list of rooms")
        elif target == room:
            if dotted == f"lamella.{room}" and "/" in path and room != "cli":
                faults.append(f"{dotted}: sideways through __init__; import the module itself")
        elif FLOOR[target] >= FLOOR[room] and not typing_only:
            faults.append(f"{dotted}: {target} is not below {room}")
    return faults


PYTHON_FILES = sources("python", suffixes=(".py",))


@pytest.mark.parametrize("path", PYTHON_FILES, ids=name)
def test_imports_point_down(path: Path) -> None:
    assert python_faults(path.relative_to(PACKAGE).as_posix(), path.read_text()) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("kernels/reduce.h", '#include "base/arena.h"'),
        ("kernels/reduce.h", "#include <vector>"),
        ("kernels/reduce.h", "#include <immintrin.h>"),
        ("kernels/reduce.h", '#include "simd/avx2/vec.h"'),
        ("simd/exp.h", '#include "simd/avx2/float.h"'),
        ("simd/avx512/float.h", '#include "simd/avx2/float.h"'),
        ("simd/exp.h", "#include <immintrin.h>"),
        ("simd/vec.h", '#include "simd/avx2/float.h"'),
        ("steps/rows.cpp", '#include "kernels/reduce.h"'),
        ("steps/rows.cpp", '#include "program/program.h"'),
        ("steps/rows.cpp", '#include "step.h"'),
        ("steps/rows.cpp", '#include "simd/vec.h"'),
        ("program/program.cpp", "#include <pybind11/pybind11.h>"),
        ("base/team.cpp", "#  include <omp.h>"),
    ],
)
def test_a_wrong_include_is_found(path: str, text: str) -> None:
    assert len(cpp_faults(path, text)) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("ir/graph.py", "from lamella.ops.base import Op"),
        ("ops/matmul.py", "from lamella import _core"),
        ("ops/matmul.py", "from lamella._core import ProgramBuilder"),
        ("passes/plan.py", "from lamella._core import MatMulSpec"),
        ("ops/matmul.py", "from lamella.ops import MatMul"),
        ("ops/matmul.py", "from .base import Op"),
        ("passes/fuse.py", "def f():\n    import scipy.special"),
        ("nn/linear.py", "import torch"),
        ("nn/linear.py", "import lamella as lm"),
        ("torch/reader.py", "from lamella.sklearn import from_sklearn"),
        ("__init__.py", "from lamella.cli import main"),
    ],
)
def test_a_wrong_import_is_found(path: str, text: str) -> None:
    assert len(python_faults(path, text)) == 1


def dotted_name(path: Path) -> str:
    """The module of a file of the package."""
    return (
        path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", ".")
    ).removesuffix(".__init__")


def needs(module: str, text: str) -> set[str]:
    """What the module needs when it runs: also what it imports inside a function."""
    return {
        dotted_name(path)
        for dotted, typing_only in imports(ast.parse(text))
        if not typing_only and dotted.startswith("lamella.") and (path := module_path(dotted))
    } - {module}


@cache
def package() -> dict[str, set[str]]:
    """What each module of the package needs."""
    return {dotted_name(path): needs(dotted_name(path), path.read_text()) for path in PYTHON_FILES}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules that need one another (Tarjan's strongly connected components)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    found: list[set[str]] = []

    def visit(module: str) -> None:
        order[module] = low[module] = len(order)
        path.append(module)
        for other in sorted(graph.get(module, ())):
            if other not in order:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in path:
                low[module] = min(low[module], order[other])
        if low[module] == order[module]:
            group = set(path[path.index(module) :])
            del path[path.index(module) :]
            if len(group) > 1:
                found.append(group)

    for module in graph:
        if module not in order:
            visit(module)
    return found


def test_no_modules_need_one_another() -> None:
    """Rooms point down; inside a room nobody imports what imports it, not even later."""
    assert circles(package()) == []


@pytest.mark.parametrize(
    ("line", "circle"),
    [
        ("from lamella.nn.module import Module", {"module", "state"}),
        ("def later():\n    from lamella.nn.module import Module", {"module", "state"}),
        ("def later():\n    import lamella.nn.module", {"module", "state"}),
        ("if TYPE_CHECKING:\n    from lamella.nn.module import Module", set()),
        ("from lamella.nn.linear import Linear", {"linear", "module", "state"}),
    ],
)
def test_a_circle_is_found(line: str, circle: set[str]) -> None:
    path = PACKAGE / "nn" / "state.py"
    corrupt = {"lamella.nn.state": needs("lamella.nn.state", path.read_text() + "\n" + line)}
    assert circles(package() | corrupt) == ([{f"lamella.nn.{m}" for m in circle}] if circle else [])


def test_no_drawers() -> None:
    stems = {name(path): path.stem for path in sources()}
    folders = {name(path): path.parent.name for path in sources()}
    assert [n for n in stems if DRAWERS & {stems[n].strip("_"), folders[n]}] == []


def test_test_folders_hide_no_library() -> None:
    """tests/ is on sys.path: a package tests/torch there would be imported instead of torch."""
    libraries = {"torch", "onnx", "sklearn", "jax", "numpy", "lamella"}
    assert [n for n in libraries if (ROOT / "tests" / n / "__init__.py").exists()] == []
