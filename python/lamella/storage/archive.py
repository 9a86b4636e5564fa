# SPDX-License-Identifier: Apache-2.0
"""Zip archives as NumPy and PyTorch write them; nothing is ever unpacked to a folder.

Own reader of the central directory, because the size of an archive's lists has to be known before
they are built: at most 65,536 members, stored or deflated, unencrypted, on one disk, no name twice,
no two members sharing bytes, sizes and checksums exactly as stated. After PKWARE's APPNOTE 6.3.10.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from itertools import pairwise

from lamella.storage.source import CHUNK, MAX_NAMES, Source, quoted

__all__ = ["Member", "Stream", "leads_outside", "members"]

_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_MAX_DIRECTORY = 16 << 20
_STORED, _DEFLATED = 0, 8


@dataclass(frozen=True, slots=True)
class Member:
    """One file in the archive: where its bytes begin, how many there are, how they are packed."""

    name: str
    method: int
    checksum: int
    packed: int
    size: int
    begin: int


def _directory(source: Source) -> tuple[bytes, int, int]:
    """The central directory, where it begins, and how many entries it says it has."""
    tail = min(source.size, _END.size + 0xFFFF)
    data = source.take(source.size - tail, tail)
    at = data.rfind(b"PK\5\6")
    if at < 0 or at + _END.size > tail:
        source.fail("no end of a zip archive: the file is cut off or no archive")
    _, disk, first, here, count, size, offset, comment = _END.unpack_from(data, at)
    if at + _END.size + comment != tail:
        source.fail("something follows the end of the archive")
    end = source.size - tail + at
    if end >= _LOCATOR.size:
        mark, disk64, offset64, _ = _LOCATOR.unpack(source.take(end - _LOCATOR.size, _LOCATOR.size))
        if mark == b"PK\6\7":
            end = offset64
            record = source.take(end, _END64.size)
            mark, _, _, _, disk, first, here, count, size, offset = _END64.unpack(record)
            if mark != b"PK\6\6" or disk64:
                source.fail("no end record of a zip64 archive where it should be")
    if disk or first or here != count:
        source.fail("an archive of several files")
    if count > MAX_NAMES or size > _MAX_DIRECTORY:
        source.fail("too many members", {"members": count, "directory": size}, f"{MAX_NAMES}")
    if offset + size != end:
        source.fail("the directory does not end where the archive does", {"at": offset + size})
    return source.take(offset, size), offset, count


def _wide(source: Source, name: str, extra: bytes, *fields: int) -> list[int]:
    """The sizes and the offset, taken from the zip64 field where 32 bits do not hold them."""
    if 0xFFFFFFFF not in fields:
        return list(fields)
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        wide = extra[at + 4 : at + 4 + size]
        at += 4 + size
        if kind == 1 and len(wide) == size:
            values = iter(struct.unpack(f"<{size // 8}Q", wide[: size // 8 * 8]))
            found = [next(values, -1) if field == 0xFFFFFFFF else field for field in fields]
            if -1 not in found:
                return found
    source.fail("a size of 64 bits is missing", {"entry": quoted(name)})


def _begin(source: Source, name: bytes, offset: int, limit: int) -> int:
    """Where the data behind a local header begins."""
    if offset + _LOCAL.size > limit:
        source.fail("a member lies outside the archive", {"entry": quoted(name.decode("latin-1"))})
    mark, *_, name_size, extra_size = _LOCAL.unpack(source.take(offset, _LOCAL.size))
    start = offset + _LOCAL.size
    begin: int = start + name_size + extra_size
    if mark != b"PK\3\4" or begin > limit or source.take(start, name_size) != name:
        source.fail(
            "a member's own header differs from the directory",
            {"entry": quoted(name.decode("latin-1"))},
        )
    return begin


def members(source: Source) -> dict[str, Member]:
    """The members by name, in the order of the directory, checked against the rules above."""
    directory, limit, count = _directory(source)
    found: dict[str, Member] = {}
    ranges, at = [], 0
    for _ in range(count):
        if at + _CENTRAL.size > len(directory):
            source.fail("the directory ends early")
        mark, _, _, flags, method, _, _, checksum, *sizes = _CENTRAL.unpack_from(directory, at)
        packed, size, name_size, extra_size, comment_size, disk, _, _, offset = sizes
        at += _CENTRAL.size
        raw = directory[at : at + name_size]
        extra = directory[at + name_size : at + name_size + extra_size]
        at += name_size + extra_size + comment_size
        if mark != b"PK\1\2" or at > len(directory):
            source.fail("the directory is damaged")
        try:
            name = raw.decode("utf-8" if flags & 0x800 else "cp437")
        except UnicodeDecodeError:
            source.fail("a name is not Unicode", {"entry": quoted(raw.decode("latin-1"))})
        entry: dict[str, object] = {"entry": quoted(name)}
        if name in found:
            source.fail("a name twice", entry)
        if leads_outside(name):
            source.fail("a name leads out of the archive", entry)
        if flags & 0x2041 or method not in (_STORED, _DEFLATED):
            source.fail("encrypted, or compressed by other than deflate", entry)
        size, packed, offset = _wide(source, name, extra, size, packed, offset)
        begin = _begin(source, raw, offset, limit)
        if disk not in (0, 0xFFFF) or begin + packed > limit or (method == 0 and size != packed):
            source.fail("sizes that do not fit the archive", entry)
        ranges.append((offset, begin + packed, name))
        found[name] = Member(name, method, checksum, packed, size, begin)
    if at != len(directory):
        source.fail("the directory holds more than it says")
    ranges.sort()
    for (_, end, _), (begin, _, name) in pairwise(ranges):
        if begin < end:
            source.fail("two members share bytes", {"entry": quoted(name)})
    return found


def leads_outside(name: str) -> bool:
    """Names that no writer of arrays makes, and that a tool that unpacks might follow."""
    return (
        not name
        or name.startswith("/")
        or ".." in name.split("/")
        or any(sign < " " or sign in "\\\x7f" for sign in name)
    )


class Stream:
    """A member's bytes from first to last; `finish` says whether they were all and the right ones.

    Inflates at most what it is asked for, so that a bomb costs its stated size, which a budget has
    judged before.
    """

    __slots__ = ("_checksum", "_inflate", "_member", "_position", "_source", "left")

    def __init__(self, source: Source, member: Member) -> None:
        self._source = source
        self._member = member
        self._position = member.begin
        self._inflate = zlib.decompressobj(-15) if member.method == _DEFLATED else None
        self._checksum = 0
        self.left = member.size

    def _fail(self, rule: str) -> None:
        self._source.fail(rule, {"entry": quoted(self._member.name)})

    def into(self, view: memoryview) -> None:
        """Fills `view` with the next bytes."""
        if len(view) > self.left:
            self._fail("the entry ends early")
        self.left -= len(view)
        if self._inflate is None:
            self._source.into(self._position, view)
            self._position += len(view)
        else:
            done = 0
            while done < len(view):
                data = self._inflated(min(CHUNK, len(view) - done))
                view[done : done + len(data)] = data
                done += len(data)
        self._checksum = zlib.crc32(view, self._checksum)

    def take(self, count: int) -> bytes:
        """The next `count` bytes; for small parts."""
        if count > self.left:
            self._fail("the entry ends early")
        found = bytearray(count)
        self.into(memoryview(found))
        return bytes(found)

    def _inflated(self, most: int) -> bytes:
        assert self._inflate is not None
        data = self._inflate.unconsumed_tail or self._packed()
        exhausted = not data
        try:
            found = self._inflate.decompress(data, most)
        except zlib.error as error:
            self._fail(f"damaged compressed data ({error})")
        if not found and (exhausted or self._inflate.eof):
            self._fail("the compressed data ends early")
        return found

    def _packed(self) -> bytes:
        end = self._member.begin + self._member.packed
        data = self._source.take(self._position, min(CHUNK, end - self._position))
        self._position += len(data)
        return data

    def finish(self) -> None:
        """Raises FormatError unless everything has been read and the checksum fits."""
        if self.left:
            self._fail("the entry is longer than what it says it holds")
        if self._inflate is not None:
            data = self._inflate.unconsumed_tail or self._packed()
            try:
                more = self._inflate.decompress(data, 1) if not self._inflate.eof else b""
            except zlib.error as error:
                self._fail(f"damaged compressed data ({error})")
            if more or not self._inflate.eof:
                self._fail("the compressed data is longer than stated")
        if self._checksum != self._member.checksum:
            self._fail("the checksum differs: the file is damaged")
