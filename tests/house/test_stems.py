# SPDX-License-Identifier: Apache-2.0
"""One idea has one stem in every room: an op's file, its step's, the binding's and its cases'.

Who knows `ops/reduce.py` finds `steps/reduce.cpp`, `bindings/steps/reduce.cpp` and
`tests/cases/reduce.py`. Where a room groups otherwise, the table below says how.
"""

from __future__ import annotations

from pathlib import Path

from house.tree import PACKAGE, ROOT

# Steps of one form, or of one memory access, serve several ops.
OPS_OF_STEP = {
    "move": {"shape"},
    "rows": {"norm", "softmax"},
    "order": {"scan", "sort"},
    "gather": {"gather", "indices", "indexing", "entries"},
    "elementwise": {"elementwise", "logical"},
    "matmul": {"matmul", "integer"},
}
# Layers' families beside the functions that they are made of.
FUNCTIONS_OF_LAYERS = {
    "embedding": {"selection"},
    "loss": {"regression", "information", "similarity"},
    "activation": {"activation", "piecewise"},
}
# Files of a room that are no family.
FRAME_OF_NN = """arguments compiled container conversion explain init inline module narrow parameter
    saved state structure summary"""
FRAMES = {"bindings": {"spec"}, "nn": {*FRAME_OF_NN.split()}}


def stems(folder: Path) -> set[str]:
    """The names of its files without what stands behind the dot."""
    return {path.name.split(".")[0] for path in folder.iterdir() if not path.name.startswith("_")}


def test_every_kind_of_step_is_an_op_of_its_name() -> None:
    ops = stems(PACKAGE / "ops")
    for stem in stems(ROOT / "cpp" / "bindings" / "steps") - FRAMES["bindings"]:
        assert OPS_OF_STEP.get(stem, {stem}) <= ops, stem
        below = [ROOT / "cpp" / "steps", ROOT / "cpp" / "steps" / "product"]
        known = set().union(*map(stems, below))
        assert ({stem} | OPS_OF_STEP.get(stem, set())) & known, stem


def test_cases_have_the_stems_of_ops_or_steps() -> None:
    frames = {"case", "functional", "layers", "broadcast"}
    # Element types, not ops: integers and bytes go through several.
    types = {"integers", "bytes"}
    known = stems(PACKAGE / "ops") | stems(ROOT / "cpp" / "bindings" / "steps")
    assert stems(ROOT / "tests" / "cases") - frames - types <= known


def test_layers_have_the_stems_of_functions() -> None:
    functions = stems(PACKAGE / "functional")
    for stem in stems(PACKAGE / "nn") - FRAMES["nn"]:
        assert FUNCTIONS_OF_LAYERS.get(stem, {stem}) <= functions, stem


def test_the_tables_name_files_that_are_there() -> None:
    assert OPS_OF_STEP.keys() <= stems(ROOT / "cpp" / "bindings" / "steps")
    assert FUNCTIONS_OF_LAYERS.keys() <= stems(PACKAGE / "nn")
    assert FRAMES["nn"] <= stems(PACKAGE / "nn")
