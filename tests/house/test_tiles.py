# SPDX-License-Identifier: Apache-2.0
"""The K loops of the register tiles hold their accumulators in registers, in the machine code.

A loop over a register array that the compiler did not unroll, or one accumulator too many, puts
sums on the stack and halves the speed while every result stays right. Here the object files of the
build are disassembled, and each main tile's innermost loops that multiply and add are read.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from house.test_symbols import isa_objects, isa_of

pytestmark = pytest.mark.skipif(not shutil.which("objdump"), reason="binutils are not installed")

# Rows and registers of columns of a tile, rows and columns of a tile of dot products.
SIZES = r"(?P<dtype>float|double)>?, (?P<rows>\d+)ul, (?P<columns>\d+)ul>"
TILE = re.compile(
    r"lamella::kernels::\w+::tile<lamella::simd::\w+::(?P<register>(?:Half)?Vec)<" + SIZES
)
DOT_TILE = re.compile(r"lamella::kernels::\w+::dot_tile<(?P<register>)" + SIZES)

INTEGER_TILE = re.compile(
    r"lamella::kernels::\w+::integer_tile<(?P<dtype>)(?P<register>)"
    r"(?P<rows>\d+)ul, (?P<columns>\d+)ul>"
)
# What multiplies a group of bytes, and what adds that to a sum where it is another instruction.
INTEGER_MEANS = {
    "baseline": ("xmm", ("pmaddwd", "paddd")),
    "avx2": ("ymm", ("vpmaddwd", "vpaddd")),
    "avx512": ("zmm", ("vpmaddwd", "vpaddd")),
    "avx512_vnni": ("zmm", ("vpdpbusd",)),
}

MULTIPLIES = re.compile(r"v?mulp[sd]|vfmadd\d+p[sd]")
ADDS = re.compile(r"v?addp[sd]|vfmadd\d+p[sd]")
FUSED = re.compile(r"vfmadd\d+p[sd]")
# Whether multiply and add are one instruction, and the registers' names, whole and half.
MEANS = {
    "baseline": (False, {"Vec": "xmm"}),
    "avx2": (True, {"Vec": "ymm"}),
    "avx512": (True, {"Vec": "zmm", "HalfVec": "ymm"}),
}
REGISTER_BYTES = {"xmm": 16, "ymm": 32, "zmm": 64}
ITEM_BYTES = {"float": 4, "double": 8}


@dataclass(frozen=True)
class Line:
    """One instruction: where it lies, mnemonic, operands (AT&T syntax)."""

    at: int
    name: str
    operands: str


def listing(text: str) -> dict[str, list[Line]]:
    """The functions of a disassembly."""
    functions: dict[str, list[Line]] = {}
    lines: list[Line] = []
    for line in text.splitlines():
        if match := re.fullmatch(r"[0-9a-f]+ <(.+)>:", line):
            lines = functions.setdefault(match[1], [])
        elif match := re.match(r"\s+([0-9a-f]+):\s+(\S+)\s*(.*)", line):
            lines.append(Line(int(match[1], 16), match[2], match[3]))
    return functions


def inner_loops(function: list[Line]) -> list[list[Line]]:
    """From the target of a backward jump to the jump, where no other such loop lies inside."""
    spans = set()
    for line in function:
        target = re.match(r"([0-9a-f]+) <", line.operands) if line.name.startswith("j") else None
        if target and function[0].at <= int(target[1], 16) <= line.at:
            spans.add((int(target[1], 16), line.at))
    inner = [s for s in spans if not any(t != s and s[0] <= t[0] and t[1] <= s[1] for t in spans)]
    return [[line for line in function if low <= line.at <= high] for low, high in sorted(inner)]


def stack_accesses(function: list[Line], loop: list[Line]) -> list[str]:
    """Instructions of the loop that use the stack; rbp may be a pointer like any other."""
    framed = any(line.name == "mov" and line.operands == "%rsp,%rbp" for line in function)
    register = r"\(%r(sp|bp)" if framed else r"\(%rsp"
    return [
        f"{line.name} {line.operands}"
        for line in loop
        if re.search(register, line.operands) or line.name in ("push", "pop", "call")
    ]


def faults(function: list[Line], isa: str, sums: int, register: str = "Vec") -> list[str]:
    """What keeps a tile of so many accumulators from running at the speed of its multiply-adds."""
    fused, names = MEANS[isa]
    registers = names[register]
    loops = [
        loop for loop in inner_loops(function) if any(MULTIPLIES.fullmatch(x.name) for x in loop)
    ]
    found = [] if loops else ["no loop multiplies"]
    for loop in loops:
        found += [f"in the loop: {access}" for access in stack_accesses(function, loop)]
        for what in (FUSED,) if fused else (MULTIPLIES, ADDS):
            those = [x for x in loop if what.fullmatch(x.name) and registers in x.operands]
            # Several terms a round are as good as one.
            if not those or len(those) % sums:
                found.append(f"{len(those)} instructions {what.pattern} on {registers}, not {sums}")
    return found


@cache
def tiles(path: Path, kind: re.Pattern[str]) -> dict[tuple[str, str, int, int], list[Line]]:
    """(type, register, rows, columns) of an object file's tiles of that kind, and instructions."""
    command = ["objdump", "--disassemble", "--demangle", "--no-show-raw-insn", "--wide", path]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    matches = ((kind.search(name), lines) for name, lines in listing(run.stdout).items())
    return {
        (m["dtype"], m["register"], int(m["rows"]), int(m["columns"])): lines
        for m, lines in matches
        if m
    }


def tiles_of(
    isa: str, dtype: str, kind: re.Pattern[str], register: str = "", unit: str = "gemm"
) -> dict[tuple[int, int], list[Line]]:
    """The same of one type and register, in all the object files of an instruction set."""
    found = {
        key[2:]: lines
        for path in isa_objects()
        if isa_of(path) == isa and unit in path.name
        for key, lines in tiles(path, kind).items()
        if key[:2] == (dtype, register)
    }
    assert found, f"no tile of {isa} in the build"
    return found


# A panel of doubles has two registers at least: its half is a whole one.
@pytest.mark.parametrize(
    ("dtype", "isa", "register"),
    [("float", isa, register) for isa, (_, names) in MEANS.items() for register in names]
    + [("double", isa, "Vec") for isa in MEANS],
)
def test_main_tiles_keep_their_sums_in_registers(dtype: str, isa: str, register: str) -> None:
    """Of each number of rows the widest tile; narrower ones serve the last columns."""
    found = tiles_of(isa, dtype, TILE, register)
    widest = {rows: max(v for r, v in found if r == rows) for rows, _ in found}
    bad = {
        f"{rows} rows, {vecs} registers": reasons
        for rows, vecs in sorted(widest.items())
        if (reasons := faults(found[rows, vecs], isa, rows * vecs, register))
    }
    assert bad == {}


@pytest.mark.parametrize("isa", MEANS)
@pytest.mark.parametrize("dtype", ["float", "double"])
def test_main_dot_tiles_keep_their_sums_in_registers(dtype: str, isa: str) -> None:
    """Of each number of columns the highest one; the last terms are added outside of the loop."""
    found = tiles_of(isa, dtype, DOT_TILE)
    highest = {columns: max(r for r, c in found if c == columns) for _, columns in found}
    fused, names = MEANS[isa]
    registers = names["Vec"]
    what, lanes = FUSED if fused else MULTIPLIES, REGISTER_BYTES[registers] // ITEM_BYTES[dtype]
    bad = []
    for columns, rows in sorted(highest.items()):
        lines, sums = found[rows, columns], rows * columns * 16 // lanes
        good = [
            loop
            for loop in inner_loops(lines)
            if sums == sum(bool(what.fullmatch(x.name)) and registers in x.operands for x in loop)
            and not stack_accesses(lines, loop)
        ]
        if not good:
            bad.append(f"{rows} x {columns}: no loop of {sums} multiply-adds without the stack")
    assert bad == []


@pytest.mark.parametrize("isa", INTEGER_MEANS)
def test_integer_tiles_keep_their_sums_in_registers(isa: str) -> None:
    """Every tile: none is wider than its registers."""
    registers, names = INTEGER_MEANS[isa]
    bad = []
    for (rows, vecs), lines in tiles_of(isa, "", INTEGER_TILE, unit="bytes").items():
        loops = [loop for loop in inner_loops(lines) if any(x.name == names[0] for x in loop)]
        if not loops:
            bad.append(f"{rows} x {vecs}: no loop multiplies")
        for loop in loops:
            bad += [f"{rows} x {vecs}: {access}" for access in stack_accesses(lines, loop)]
            for name in names:
                found = sum(x.name == name and registers in x.operands for x in loop)
                if not found or found % (rows * vecs):
                    bad.append(f"{rows} x {vecs}: {found} {name} on {registers}")
    assert bad == []


# A tile of 2 rows and 1 register, as objdump prints it: a row's sum in each of ymm0 and ymm1.
GOOD = """
0000000000000040 <void avx2::tile<Vec<float>, 2ul, 1ul>(TileArgs<float> const&)>:
      40:	mov    %rsp,%rbp
      43:	vmovaps %ymm0,-0x40(%rbp)
      48:	vxorps %xmm0,%xmm0,%xmm0
      4c:	vxorps %xmm1,%xmm1,%xmm1
      50:	vmovups (%rdx),%ymm2
      54:	vbroadcastss (%rax),%ymm3
      59:	vfmadd231ps %ymm3,%ymm2,%ymm0
      5e:	vbroadcastss (%rax,%rcx,1),%ymm3
      64:	vfmadd231ps %ymm3,%ymm2,%ymm1
      69:	add    %r9,%rdx
      6c:	dec    %rsi
      6f:	jne    50 <this function+0x10>
      71:	vmovaps %ymm0,(%rsp)
      76:	jmp    400 <another function>
"""


def crafted(*changes: tuple[str, str]) -> list[str]:
    """Faults of the listing above with some of its text exchanged."""
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (lines,) = listing(text).values()
    return faults(lines, "avx2", 2)


def test_a_good_loop_passes() -> None:
    assert crafted() == []


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("add    %r9,%rdx", "vmovaps %ymm0,0x20(%rsp)", "vmovaps %ymm0,0x20(%rsp)"),
        ("add    %r9,%rdx", "vmovaps -0x40(%rbp),%ymm0", "vmovaps -0x40(%rbp),%ymm0"),
        ("add    %r9,%rdx", "add    0x18(%rsp),%rdx", "add 0x18(%rsp),%rdx"),
        ("add    %r9,%rdx", "call   900 <memcpy>", "call 900 <memcpy>"),
        ("vfmadd231ps %ymm3,%ymm2,%ymm1", "vfmadd231ps 0x20(%rsp),%ymm2,%ymm1", "0x20(%rsp)"),
        ("vfmadd231ps %ymm3,%ymm2,%ymm1", "nop", "1 instructions"),
        ("vfmadd231ps %ymm3,%ymm2,%ymm1", "vfmadd231ss %xmm3,%xmm2,%xmm1", "1 instructions"),
        ("vfmadd231ps %ymm3,%ymm2,%ymm1", "vfmadd231ps %xmm3,%xmm2,%xmm1", "1 instructions"),
        ("jne    50", "jne    71", "no loop"),
    ],
)
def test_a_bad_loop_is_found(old: str, new: str, what: str) -> None:
    (fault,) = crafted((old, new))
    assert what in fault


def test_rbp_may_be_a_pointer() -> None:
    assert crafted(("%rsp,%rbp", "%rdi,%rbp"), ("(%rax)", "(%rbp)")) == []


def test_the_innermost_loop_counts() -> None:
    """A loop around the K loop may use the stack."""
    assert crafted(("jmp    400 <another", "jne    43 <another")) == []
