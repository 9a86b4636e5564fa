# SPDX-License-Identifier: Apache-2.0
"""Every operator's generator of cases, by its name in RULES."""

from __future__ import annotations

from corners import elementwise, moving, picking, products, summing
from corners.draw import Generator

GENERATORS: dict[str, Generator] = {
    **elementwise.GENERATORS,
    **moving.GENERATORS,
    **picking.GENERATORS,
    **products.GENERATORS,
    **summing.GENERATORS,
}
