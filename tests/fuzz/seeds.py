# SPDX-License-Identifier: Apache-2.0
"""Writes what fuzzing starts from into a folder: `seeds.py FOLDER`.

The exported models of tests/onnx, and the models of ONNX's own suite: one operator each, in every
form that the suite knows. Needs the onnx package.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from pathlib import Path

from onnx.backend.test.case.node import collect_testcases

MODELS = Path(__file__).resolve().parents[1] / "onnx" / "models"
# Larger ones are slow, and say nothing that small ones do not.
_LIMIT = 6000


def main(folder: Path) -> None:
    """Writes each model under the digest of its bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [path.read_bytes() for path in sorted(MODELS.glob("*.onnx"))]
    with warnings.catch_warnings():
        # The suite's own data overflow while they are made.
        warnings.simplefilter("ignore")
        found += [case.model.SerializeToString() for case in collect_testcases(None)]
    for data in found:
        if len(data) <= _LIMIT:
            (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
