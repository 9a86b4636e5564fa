# SPDX-License-Identifier: Apache-2.0
"""What a model needs and lamella does not have, collected and raised once.

An operator stands there once, with how many nodes have it and the first of them. Tensors in other
files, which are not read unless asked for, are one sentence, with the cure in the words of whoever
asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamella.errors import UnsupportedError, message
from lamella.storage.source import quoted

__all__ = ["ExternalData", "Refusals"]

# Kinds of faults in one message: real models have tens, hostile ones as many as they like.
_LISTED = 200


class ExternalData(UnsupportedError):
    """Tensors lie in other files, and nobody asked for these to be read."""

    def __init__(self, told: str, cure: str) -> None:
        super().__init__(f"{told}. {cure}")
        self.told = told

    def advised(self, cure: str) -> ExternalData:
        """The same with another cure."""
        return ExternalData(self.told, cure)

    def __reduce__(self) -> Any:
        return ExternalData, (self.told, str(self)[len(self.told) + 2 :])


class Refusals:
    """The faults of one model, in the order in which they were met; reader: what reads the file."""

    def __init__(self, reader: str) -> None:
        self._reader = reader
        # Kind of fault -> how many nodes have it and the first of them; none for what is no node.
        self._kinds: dict[str, tuple[int, str]] = {}
        self._external: dict[str, tuple[int, int]] = {}

    def node(self, kind: str, name: str, output: str) -> None:
        """A node without a rule, or with a use of its operator that has none: what is missing."""
        count, first = self._kinds.get(kind, (0, ""))
        if not count:
            first = f" at {quoted(name)}" if name else f" making {quoted(output)}"
        self._kinds[kind] = (count + 1, first)

    def other(self, fault: str) -> None:
        """Anything else."""
        self._kinds.setdefault(fault, (0, ""))

    def external(self, where: str, size: int) -> None:
        """A tensor of `size` bytes in another file, which is not read."""
        count, total = self._external.get(where, (0, 0))
        self._external[where] = (count + 1, total + max(size, 0))

    def judge(self, cure: str) -> None:
        """Raises what was collected, if anything was; cure: how to have other files read."""
        listed = [
            kind + (f"{first} ({count} node{'s' * (count > 1)})" if count else "")
            for kind, (count, first) in self._kinds.items()
        ]
        text = ""
        if listed:
            text = message(
                self._reader, "the model needs what has no rule: " + " | ".join(listed[:_LISTED])
            )
            if len(listed) > _LISTED:
                text += f" | and {len(listed) - _LISTED} more"
        if self._external:
            files = list(self._external)
            told: Mapping[str, object] = {
                "file": ", ".join(map(quoted, files[:3])) + (", ..." if len(files) > 3 else ""),
                "tensors": sum(count for count, _ in self._external.values()),
                "bytes": sum(size for _, size in self._external.values()),
            }
            rule = "tensors lie beside the model in a file that is read only when asked for"
            one = message(self._reader, rule, told)
            raise ExternalData(f"{text}. {one}" if text else one, cure)
        if text:
            raise UnsupportedError(text)
