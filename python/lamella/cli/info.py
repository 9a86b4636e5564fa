# SPDX-License-Identifier: Apache-2.0
"""`lamella info`: what lamella found on this machine and decided from it."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`info` has no options."""


def run(options: argparse.Namespace) -> int:
    """Prints the configuration."""
    from lamella.config import show_config

    show_config()
    return 0
