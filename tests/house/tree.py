# SPDX-License-Identifier: Apache-2.0
"""Where the project's own files are; what the house tests have in common."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "lamella"
FOLDERS = ("cpp", "python", "tests", "benchmarks", ".ci")
SUFFIXES = (".py", ".pyi", ".cpp", ".h", ".cmake")


def sources(*folders: str, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """All source files below the folders, by default everything that was written by hand."""
    found = [path for folder in folders or FOLDERS for path in (ROOT / folder).rglob("*")]
    return sorted(p for p in found if p.suffix in suffixes and "__pycache__" not in p.parts)


def name(path: Path) -> str:
    """The path as one writes it in the repository."""
    return path.relative_to(ROOT).as_posix()
