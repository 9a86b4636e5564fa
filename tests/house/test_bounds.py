# SPDX-License-Identifier: Apache-2.0
"""The bounds of the sweep over all float32 inputs are those of the library's tables.

`tests/cpp/ulp_sweep.cpp` is built and run by `make ulp` only; that it judges every function, and by
the promised bound, is read here from its text.
"""

from __future__ import annotations

import re

from house.tree import ROOT
from lamella.ops.tables import UNARY

ROW = re.compile(r'^    \{"(\w+)",.*?\b([0-9.]+)\},$', re.DOTALL | re.MULTILINE)


def test_the_sweep_has_every_function_and_its_bound() -> None:
    text = (ROOT / "tests" / "cpp" / "ulp_sweep.cpp").read_text()
    rows = re.search(r"constexpr Row kRows\[\] = \{\n(.*?)\n\};", text, re.DOTALL)
    assert rows is not None
    found = set(ROW.findall(rows[1]))
    promised = {(name, f"{row.ulp:.1f}") for name, row in UNARY.items()}
    assert found <= promised
    # What has no row is held to 2 units by the program itself, and takes no parameters.
    for name, bound in promised - found:
        assert (bound, UNARY[name].params) == ("2.0", ()), name
