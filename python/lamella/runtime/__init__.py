# SPDX-License-Identifier: Apache-2.0
"""Tracing, compiling and calling: from Python functions to programs of the C++ core."""
