# SPDX-License-Identifier: Apache-2.0
"""Object files hold no instruction that the oldest supported machine cannot run, except where the
dispatcher guards it.

A template instantiated at two instruction sets under one name would be merged by the linker, and a
vector constant that needs code to initialise would run at import: both crash on older machines
only. Here the object files of the build are read with nm and objdump.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

from house.tree import ROOT

# isa.cmake's namespaces of instruction sets above the baseline.
ABOVE_BASELINE = ("avx2", "avx512", "avx512_vnni")

# Writing the floating-point control register is for write_control() alone.
AUDITED_UNIT = "fp_environment.cpp"
AUDITED_LDMXCSR = 1

# What a kernel may call outside its namespace: what the compiler makes of a copy, and the C library
# for the functions that have no vector form.
FROM_COMPILER = {"memcpy", "memset", "memmove", "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}
FROM_LIBM = {name + suffix for name in ("pow", "fmod") for suffix in ("", "f")}

pytestmark = pytest.mark.skipif(
    not (shutil.which("nm") and shutil.which("objdump")), reason="binutils are not installed"
)


@lru_cache(maxsize=1)
def build_folder() -> Path | None:
    """The build that made the module: $LAMELLA_BUILD_DIR, or the newest below build/."""
    if given := os.environ.get("LAMELLA_BUILD_DIR"):
        return Path(given)
    caches = (ROOT / "build").glob("cp*/CMakeCache.txt")
    return max((c.parent for c in caches), key=lambda p: p.stat().st_mtime, default=None)


def objects() -> list[Path]:
    """All object files of the build."""
    folder = build_folder()
    if folder is None:
        pytest.skip("no build folder; `make test` leaves one, or set LAMELLA_BUILD_DIR")
    found = sorted(folder.rglob("*.o"))
    assert found, f"{folder} holds no object files"
    return found


def isa_of(path: Path) -> str | None:
    """The instruction set that a per-ISA object was compiled for, None for the others."""
    match = re.search(r"lamella_isa_(\w+)\.dir", path.as_posix())
    return match[1] if match else None


def isa_objects() -> list[Path]:
    """The object files of all instruction sets."""
    found = [path for path in objects() if isa_of(path)]
    assert {isa_of(path) for path in found} >= {"baseline", "avx2"}
    return found


def symbols(path: Path) -> list[tuple[str, str]]:
    """(type letter, mangled name) of every symbol."""
    run = subprocess.run(["nm", path], check=True, capture_output=True, text=True)
    fields = [line.split() for line in run.stdout.splitlines()]
    return [(parts[-2], parts[-1]) for parts in fields if len(parts) >= 2]


def instructions(path: Path) -> list[tuple[str, bytes, str]]:
    """(function, encoded bytes, mnemonic) of every instruction."""
    command = ["objdump", "--disassemble", "--wide", "--no-addresses", path]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    function, found = "", []
    for line in run.stdout.splitlines():
        if match := re.fullmatch(r"<(.+)>:", line):
            function = match[1]
        elif match := re.match(r"\s+((?:[0-9a-f]{2} )+)\s*(\S*)", line):
            found.append((function, bytes.fromhex(match[1]), match[2]))
    return found


def needs_avx(code: bytes) -> bool:
    """Whether the instruction is VEX- or EVEX-encoded: in 64-bit mode these bytes mean only that.

    A segment or address-size prefix may come first.
    """
    code = code.lstrip(b"\x26\x2e\x36\x3e\x64\x65\x67")
    return code[:1] in (b"\xc4", b"\xc5", b"\x62")


def test_encodings_are_told_apart() -> None:
    assert needs_avx(bytes.fromhex("c5fc58c1"))  # vaddps ymm
    assert needs_avx(bytes.fromhex("c4e275b8c2"))  # vfmadd231ps
    assert needs_avx(bytes.fromhex("c4e2f3f7c0"))  # shlx
    assert needs_avx(bytes.fromhex("62f17c4858c1"))  # vaddps zmm
    assert needs_avx(bytes.fromhex("64c5f86f00"))  # with a segment prefix
    assert not needs_avx(bytes.fromhex("0f58c1"))  # addps
    assert not needs_avx(bytes.fromhex("f30f58c5"))  # addss
    assert not needs_avx(bytes.fromhex("0f00e0"))  # verr


def test_avx_is_used_where_it_was_asked_for() -> None:
    """Otherwise the next test would prove nothing."""
    gemm = [p for p in isa_objects() if isa_of(p) == "avx2" and "gemm" in p.name]
    assert sum(needs_avx(code) for _, code, _ in instructions(gemm[0])) > 1000


def test_vector_code_stays_in_its_namespace() -> None:
    stray = [
        (path.name, function)
        for path in objects()
        for function, code, _ in instructions(path)
        if needs_avx(code) and not (isa_of(path) and any(isa in function for isa in ABOVE_BASELINE))
    ]
    assert sorted(set(stray)) == []


def test_no_shared_weak_symbols() -> None:
    """A weak symbol of a per-ISA object carries the name of its instruction set."""
    shared = [
        (path.name, symbol)
        for path in isa_objects()
        for kind, symbol in symbols(path)
        if kind in "WwVvu" and str(isa_of(path)) not in symbol
    ]
    assert shared == []


def test_no_dynamic_initialisers() -> None:
    startup = [
        (path.name, symbol)
        for path in isa_objects()
        for _, symbol in symbols(path)
        if symbol.startswith(("_GLOBAL__sub_I", "_ZGV", "__cxa_", "__cxx_global"))
    ]
    assert startup == []


def test_kernels_call_what_is_listed() -> None:
    foreign = {
        symbol
        for path in isa_objects()
        for kind, symbol in symbols(path)
        if kind == "U" and str(isa_of(path)) not in symbol and "san_" not in symbol
    }
    assert foreign <= FROM_COMPILER | FROM_LIBM


def test_the_control_register_is_written_where_audited() -> None:
    writes = [
        path.name.removesuffix(".o")
        for path in objects()
        for _, _, mnemonic in instructions(path)
        if mnemonic in ("ldmxcsr", "vldmxcsr", "fldcw", "fldenv", "fxrstor", "xrstor")
    ]
    assert writes == [AUDITED_UNIT] * AUDITED_LDMXCSR
