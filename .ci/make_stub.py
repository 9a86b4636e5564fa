# SPDX-License-Identifier: Apache-2.0
"""Writes the stub of lamella._core, from the compiled module, into the given folder.

pybind11-stubgen reads the module; this adds what it cannot know (the methods of Callable and
Watch, plain C types without signatures; the element types of containers) and says plainly what
pybind11 spells out (an int is anything with __int__ or __index__). A signature that is listed here
but no longer in the module, or the other way round, ends with an error: the stub cannot go stale
unnoticed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HEAD = '''# SPDX-License-Identifier: Apache-2.0
"""The native core of lamella: programs, their steps, and threads.

Generated from the compiled module by `make stub`; `make lint` compares.
"""
'''

CALLABLE = {
    "__init_subclass__": "(cls, **kwargs: typing.Any) -> None",
    "__new__": "(cls, *args: typing.Any, **kwargs: typing.Any) -> typing.Self",
    "__call__": "(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any",
    "__getstate__": "(self) -> typing.Any",
    "_dispatch": "(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any",
    "_forget": "(self) -> None",
    "_remember": (
        "(self, args: tuple[typing.Any, ...], kwnames: tuple[str, ...], program: Program, "
        "returns: typing.Any, keep: typing.Any = None, turned: tuple[typing.Any, ...] = (), "
        "watch: Watch | None = None, text: Text | None = None) -> bool"
    ),
    "_follow": (
        "(self, structures: tuple[Structure | Callable, ...], states: tuple[int, ...]) -> bool"
    ),
    "_is_settled": "(self) -> bool",
    "_watch_others": "(self) -> None",
    "_was_disturbed": "(self) -> bool",
    "_touch": "(self) -> None",
    "_assign": "(self, name: str, value: typing.Any) -> None",
}

STRUCTURE = {
    "__new__": "(cls) -> typing.Self",
    "touch": "(self) -> None",
}

WATCH = {
    "__new__": (
        "(cls, places: tuple[tuple[str, typing.Any, typing.Any], ...], arrays: tuple[tuple["
        "numpy.typing.NDArray[typing.Any], numpy.typing.NDArray[typing.Any] | None, bool], ...]"
        ") -> typing.Self"
    ),
    "by_size": "(self) -> list[int]",
    "changed": "(self) -> list[int]",
    "holds": "(self) -> bool",
}

# What the module returns where pybind11 only sees a container.
RETURNS = {
    "build_info() -> dict": "build_info() -> dict[str, str]",
    "cache_sizes(root: str | None = None) -> dict": (
        "cache_sizes(root: str | None = None) -> dict[str, int]"
    ),
    "default_threads(root: str = '') -> dict": (
        "default_threads(root: str = '') -> dict[str, typing.Any]"
    ),
    "states_of(structures: tuple) -> tuple": (
        "states_of(structures: tuple[Structure | Callable, ...]) -> tuple[int, ...]"
    ),
    "state_of(structure: typing.Any) -> int": "state_of(structure: Structure | Callable) -> int",
    "def inputs(self) -> list": "def inputs(self) -> list[tuple[str, tuple[int, ...]]]",
    "def outputs(self) -> list": "def outputs(self) -> list[tuple[str, tuple[int, ...]]]",
    "| None = None) -> tuple": "| None = None) -> tuple[numpy.ndarray, ...]",
}

WORDS = {
    "typing.SupportsInt | typing.SupportsIndex": "int",
    "typing.SupportsFloat | typing.SupportsIndex": "float",
    "numpy.ndarray": "numpy.typing.NDArray[typing.Any]",
    "import numpy\n": "import numpy.typing\n",
}


def rewrite(text: str) -> str:
    """The stub as it is committed, before formatting."""
    for old, new in RETURNS.items():
        if not re.search(re.escape(old) + r":", text):
            raise SystemExit(f"make_stub: the module has no {old!r} any more")
        text = re.sub(re.escape(old) + r":", new + ":", text)
    for old, new in WORDS.items():
        text = text.replace(old, new)

    for kind, signatures in (
        ("Callable", CALLABLE),
        ("Structure", STRUCTURE),
        ("Watch", WATCH),
    ):
        text = spell_out(text, kind, signatures)
    return HEAD + "\n" + text[text.index("from __future__") :]


def spell_out(text: str, kind: str, signatures: dict[str, str]) -> str:
    """The stub with the signatures of one class in the place of what stubgen guessed."""
    start = text.index(f"class {kind}:")
    end = min(text.find(after, start + 1) % len(text) for after in ("\ndef ", "\nclass "))
    block, seen = text[start:end], set()
    for name in re.findall(r"def (\w+)\(", block):
        if name not in signatures:
            raise SystemExit(f"make_stub: no signature is listed for {kind}.{name}")
        block = re.sub(rf"def {name}\(.*\).*:", f"def {name}{signatures[name]}:", block)
        seen.add(name)
    if seen != signatures.keys():
        raise SystemExit(f"make_stub: {kind} has no {sorted(signatures.keys() - seen)} any more")
    return text[:start] + block.replace("    @staticmethod\n", "") + text[end:]


def main() -> None:
    """Generates, rewrites, formats."""
    folder = Path(sys.argv[1])
    tools = Path(sys.executable).parent
    generate = [tools / "pybind11-stubgen", "lamella._core", "--output-dir", folder]
    subprocess.run([*generate, "--numpy-array-remove-parameters"], check=True)
    stub = folder / "lamella" / "_core.pyi"
    stub.write_text(rewrite(stub.read_text()))
    rules = ["--select", "I,UP,F401,Q,PYI", "--ignore", "PYI021,PYI048", "--fix", "--exit-zero"]
    subprocess.run([tools / "ruff", "check", "--quiet", *rules, stub], check=True)
    subprocess.run([tools / "ruff", "format", "--quiet", stub], check=True)


if __name__ == "__main__":
    main()
