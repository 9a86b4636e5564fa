# SPDX-License-Identifier: Apache-2.0
"""The package's own names: configuration, threads, lazily opened doors."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import lamella as lm
from lamella import _core


def test_config_tells_what_runs():
    config = lm.config()
    assert config["versions"]["lamella"] == lm.__version__ == _core.build_info()["version"]
    assert config["versions"]["numpy"] == np.__version__
    assert config["instruction sets"]["in use"] in config["instruction sets"]["runnable here"]
    assert config["threads"]["in use"] == lm.get_num_threads()
    assert config["threads"]["reason"]
    assert config["build"]["compiler"]


def test_show_config_prints_all_of_it(capsys):
    lm.show_config()
    text = capsys.readouterr().out
    for section, entries in lm.config().items():
        assert section in text
        for name, value in entries.items():
            assert str(name) in text
            assert str(value) in text


@pytest.mark.parametrize("bad", [0, -1, 1.5, "2", None, True])
def test_numbers_of_threads(bad):
    before = lm.get_num_threads()
    with pytest.raises((TypeError, ValueError), match="set_num_threads: "):
        lm.set_num_threads(bad)
    assert lm.get_num_threads() == before
    lm.set_num_threads(np.int64(1))
    assert lm.get_num_threads() == 1
    lm.set_num_threads(before)


def test_public_names():
    assert set(lm.__all__) <= set(dir(lm))
    assert "sklearn" in dir(lm)
    with pytest.raises(AttributeError, match="no attribute 'tensorflow'"):
        _ = lm.tensorflow


def test_importing_opens_no_door():
    code = (
        "import sys, lamella\n"
        "foreign = {'torch', 'onnx', 'sklearn', 'scipy', 'importlib.metadata', 'unittest'}\n"
        "import numpy; print(*sorted(foreign & set(sys.modules)))\n"
        "print(*[n for n in sys.modules if n.startswith('lamella.sklearn')])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []
