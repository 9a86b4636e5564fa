# SPDX-License-Identifier: Apache-2.0
"""What is written runs: examples in the README and in docstrings."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import lamella
from house.tree import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
DOORS = ("lamella.onnx.backend", "lamella.torch", "lamella.sklearn")
PUBLIC = (
    "lamella",
    "lamella.nn",
    "lamella.functional",
    "lamella.nn.init",
    "lamella.onnx",
    "lamella.optim",
    "lamella.train",
    "lamella.sklearn",
)


def modules() -> Iterator[str]:
    """Every module of the package that can be imported with what is installed."""
    yield "lamella"
    for found in pkgutil.walk_packages(lamella.__path__, "lamella."):
        if not found.name.endswith(("__main__", "_core")):
            yield found.name


def load(name: str) -> ModuleType:
    """The module, or a skip when it is a door to a library that is not installed."""
    if name.startswith(DOORS):
        pytest.importorskip(name.split(".")[1])
    return importlib.import_module(name)


@pytest.mark.parametrize("name", list(modules()))
def test_docstring_examples_run(name: str) -> None:
    result = doctest.testmod(
        load(name),
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
        verbose=False,
    )
    assert result.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_of_pages_run(
    page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """All Python blocks of a page, from top to bottom, in one session."""
    if "sklearn" in page.read_text():
        pytest.importorskip("sklearn")
    monkeypatch.chdir(str(tmp_path))
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 3
    session: dict[str, object] = {"__name__": page.stem}
    for block in blocks:
        exec(compile(block, page.name, "exec"), session)


def test_links_in_the_texts_lead_somewhere() -> None:
    links = [
        (text.parent, target)
        for text in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text.read_text())
        if not target.startswith("http")
    ]
    assert [link for link in links if not (link[0] / link[1]).exists()] == []


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name: str) -> None:
    module = load(name)
    assert module.__all__ == sorted(set(module.__all__), key=module.__all__.index)
    bare = []
    for public in module.__all__:
        value = getattr(module, public)
        if callable(value) and not (inspect.getdoc(value) or "").strip():
            bare.append(public)
    assert bare == []
