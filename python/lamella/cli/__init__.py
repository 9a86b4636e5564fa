# SPDX-License-Identifier: Apache-2.0
"""The command line: `lamella` and `python -m lamella`.

Each command is one module with `add_arguments(parser)` and `run(options) -> exit status`, imported
when it is asked for. Exit status: 0 done, 1 a check failed, 2 wrong usage or a missing extra.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

# Name of the command -> (module, what it does in one line).
COMMANDS = {
    "demo": ("lamella.cli.demo", "takes over a trained scikit-learn net and measures it"),
    "info": ("lamella.cli.info", "shows instruction set, caches, threads and versions"),
    "run": ("lamella.cli.run", "runs an ONNX model on arrays in files"),
    "summary": ("lamella.cli.summary", "shows what an ONNX model consists of and costs"),
    "profile": ("lamella.cli.profile", "times every step of an ONNX model beside its limit"),
    "bench": (
        "lamella.benchmarks.run",
        "measures kernels, or an ONNX model, beside limits and installed rivals",
    ),
}


class Refused(Exception):
    """A command that cannot be done as it was given: its text is all that the user is shown."""

    def __init__(self, command: str, reason: object) -> None:
        super().__init__(f"lamella {command}: {' '.join(str(reason).split())}")


class MissingExtra(Exception):
    """A library that the command needs is not installed."""

    def __init__(self, command: str, extra: str, error: ImportError) -> None:
        super().__init__(
            f"lamella {command}: needs {error.name or error}, which is not installed; "
            f"pip install 'lamella[{extra}]'"
        )


def _parser(command: str | None) -> argparse.ArgumentParser:
    from lamella import __version__

    parser = argparse.ArgumentParser(
        prog="lamella", description="Neural-network layers on the CPU, at the speed the CPU has."
    )
    parser.add_argument("--version", action="version", version=f"lamella {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, what) in COMMANDS.items():
        sub = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        if name == command:
            importlib.import_module(module).add_arguments(sub)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command = next((word for word in arguments if word in COMMANDS), None)
    options = _parser(command).parse_args(arguments)
    try:
        status: int = importlib.import_module(COMMANDS[options.command][0]).run(options)
    except (MissingExtra, Refused) as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of a pipe has seen enough; nothing may be flushed into it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return status
