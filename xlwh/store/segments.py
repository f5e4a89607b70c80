"""Segments: Parquet files that hold many small ones, row group for row group and byte for byte.

A segment is a Parquet file like any other: it has the row groups of the files that were packed into it, in their order,
and one column more, `xlwh_slot`, with the number of the file that a row comes from. Pages are copied as they are, and the
footer of each file is kept too, so that every packed file can be had again with exactly the bytes, and so the digest, that
the manifest knows of it:

    PAR1 | pages of a file | its numbers | its footer | … of the next file | … | index | locator | footer | length | PAR1

The index (JSON, compressed) says of each file where its pages and its footer are. The locator has a fixed length and says
where the index is, and what its bytes are.

Original: Apache Parquet's format, https://github.com/apache/parquet-format.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import polars as pl

from xlwh.digests import sha256
from xlwh.errors import StoreError
from xlwh.failures import full_disk
from xlwh.jsons import parsed, typed
from xlwh.store.compact_thrift import (
    BINARY,
    I32,
    LIST,
    STRUCT,
    Value,
    binary,
    listed,
    number,
    parsed_struct,
    structure,
    varint,
)
from xlwh.store.contract import schema
from xlwh.store.files import make_folder, path_beside, publish
from xlwh.store.slots import contract

COLUMN = "xlwh_slot"
"""The column of a segment that says which file a row comes from."""
FOLDER = "segments"
"""Folder of a table's segments, beside its partitions."""

_MAGIC = b"PAR1"
_LOCATOR = struct.Struct("<8sQQ32s")
_MARK = b"xlwhseg1"
_TAIL = 8
"""Bytes after a footer: its length, and the magic."""
_STATED = 1000
"""Rows of a row group from which on the footer keeps what it says of all columns, and not only of those that tables are partitioned by."""
_MOST = 1 << 20
"""Files of one segment."""
_LONGEST = 4096
"""Bytes that an index may have of a file."""
_DIGITS = 32
_NAME = re.compile(f"tables/[a-z_]+/{FOLDER}/([0-9a-f]{{{_DIGITS}}})-([1-9][0-9]{{0,6}})\\.parquet")
"""Path of a segment: it tells how many files are in it, and the beginning of the SHA-256 of its bytes."""


@dataclass(frozen=True, slots=True)
class Original:
    """A file that is to be packed."""

    file: str
    """Its path in the warehouse."""
    size_bytes: int
    digest: str
    """SHA-256, in hexadecimal."""
    rows: int


@dataclass(frozen=True, slots=True)
class Packed:
    """A file in a segment."""

    file: str
    """Its path in the warehouse, where it was before."""
    size_bytes: int
    digest: str
    """SHA-256 of its bytes, in hexadecimal."""
    number: int
    """Its rows have it in the segment's column `xlwh_slot`."""
    first_row: int
    """Of the segment."""
    rows: int
    start: int
    """Where its pages begin in the segment, and how many bytes they have; likewise its footer, which is compressed."""
    length: int
    footer_start: int
    footer_length: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that was written."""

    file: str
    """Its path in the warehouse, by which it is known how many files are in it, and what its bytes are."""
    size_bytes: int
    digest: str
    """SHA-256 of all its bytes, in hexadecimal."""
    packed: tuple[Packed, ...]


class UnfitError(StoreError):
    """A file that cannot be packed, and why: it stays as it is."""


def is_segment(file: str) -> bool:
    """Whether the path of a file in a warehouse is that of a segment."""
    return _NAME.fullmatch(file) is not None


def count_in(segment: str) -> int:
    """How many files were packed into a segment, by its path."""
    return int(_named(segment)[2])


def has_digest(segment: str, digest: str) -> bool:
    """Whether bytes with this SHA-256 are those of a segment, by its path."""
    return digest.startswith(_named(segment)[1])


def _named(segment: str) -> re.Match[str]:
    if (found := _NAME.fullmatch(segment)) is None:
        raise ValueError(f"{segment!r} is no segment")
    return found


def write_segment(
    root: Path,
    table: str,
    sources: Sequence[Original],
    content: Callable[[Original], bytes],
    unfit: Callable[[Original, UnfitError], None],
) -> Segment | None:
    """Pack files of one table, which are of its present contract, into a new segment of the warehouse at `root`.

    `content` gives the bytes of a file. One that has other bytes than its digest says, or that is of another layout than
    the contract's, is left out, and `unfit` is told. None where nothing is left. StoreError where the disk refuses.
    """
    template = _template(table)
    folder = root / "tables" / table / FOLDER
    make_folder(folder)
    unfinished, base = path_beside(folder / "segment"), secrets.randbits(43) << 20
    packed, groups, first_row = list[Packed](), list[Value](), 0
    try:
        with unfinished.open("wb") as stream:
            stream.write(_MAGIC)
            for source in sources[:_MOST]:
                try:
                    small = _Small(source, content(source), template)
                except UnfitError as error:
                    unfit(source, error)
                    continue
                place = base + len(packed)
                start = stream.tell()
                stream.write(small.pages)
                for group in small.groups:
                    pages, chunk = _numbers(place, group.rows, stream.tell())
                    stream.write(pages)
                    groups.append(group.moved(start - len(_MAGIC), chunk))
                footer = zlib.compress(small.footer, 6)
                packed.append(
                    Packed(
                        *(source.file, source.size_bytes, source.digest, place, first_row, source.rows),
                        *(start, len(small.pages), stream.tell(), len(footer)),
                    )
                )
                stream.write(footer)
                first_row += source.rows
            if not packed:
                return None
            index, at = (
                zlib.compress(json.dumps([astuple(each) for each in packed]).encode(), 6),
                stream.tell(),
            )
            stream.write(index + _LOCATOR.pack(_MARK, at, len(index), hashlib.sha256(index).digest()))
            footer = template.footer(first_row, groups)
            stream.write(footer + struct.pack("<I", len(footer)) + _MAGIC)
        size, digest = unfinished.stat().st_size, sha256([unfinished])
        name = f"{digest[:_DIGITS]}-{len(packed)}.parquet"
        publish(unfinished, folder / name, final=True)
    except OSError as error:
        full = full_disk(error, [folder])
        raise StoreError(f"A segment cannot be written to {folder}: {full or error}.") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return Segment(f"tables/{table}/{FOLDER}/{name}", size, digest, tuple(packed))


def read_index(path: Path) -> tuple[Packed, ...]:
    """The files in the segment at a path in a warehouse. StoreError where it is none, or its index is damaged."""
    try:
        with path.open("rb") as stream:
            return index_of(stream, count_in("/".join(path.parts[-4:])))
    except (OSError, ValueError) as error:
        raise StoreError(f"The index of {path} cannot be read: {error}. Run: xlwh repair") from None


def index_of(stream: BinaryIO, count: int) -> tuple[Packed, ...]:
    """The files in an open segment of so many, whoever wrote it. ValueError where it is none, or its index is damaged."""
    try:
        return _index(stream, count)
    except (struct.error, zlib.error) as error:
        raise ValueError(str(error)) from None


def _index(stream: BinaryIO, count: int) -> tuple[Packed, ...]:
    end = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, end - _TAIL))
    (length,) = struct.unpack("<I", stream.read(4))
    at = end - _TAIL - length - _LOCATOR.size
    if at < len(_MAGIC):
        raise ValueError("it is cut short")
    stream.seek(at)
    mark, start, size, digest = _LOCATOR.unpack(stream.read(_LOCATOR.size))
    if mark != _MARK or start + size != at:
        raise ValueError("it has none")
    stream.seek(start)
    content = stream.read(size)
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("its bytes are not those that were written")
    text = zlib.decompressobj().decompress(content, count * _LONGEST)
    rows = typed(list[tuple[str, int, str, int, int, int, int, int, int, int]], parsed(text.decode()))
    found = tuple(Packed(*each) for each in rows)
    if len(found) != count:
        raise ValueError(f"it has {len(found)} files, and not {count}")
    for each in found:
        ends = (0, each.start, each.start + each.length, each.footer_start)
        if sorted(ends) != list(ends) or not 0 <= each.footer_length <= start - each.footer_start:
            raise ValueError("a file of it lies elsewhere")
    return found


def bytes_of(path: Path, packed: Packed) -> bytes:
    """A packed file as it was, byte for byte; whether it still is, its digest tells. OSError."""
    with path.open("rb") as stream:
        return unpacked(stream, packed)


def unpacked(stream: BinaryIO, packed: Packed) -> bytes:
    """The same out of an open segment."""
    stream.seek(packed.start)
    pages = stream.read(packed.length)
    stream.seek(packed.footer_start)
    try:
        footer = zlib.decompressobj().decompress(stream.read(packed.footer_length), packed.size_bytes)
    except zlib.error:
        # Damage that the digest tells of.
        footer = b""
    return b"".join((_MAGIC, pages, footer, struct.pack("<I", len(footer)), _MAGIC))


# The footer of a file taken apart. Numbers of fields are those of parquet.thrift.


@dataclass(frozen=True)
class _Group:
    """A row group of a packed file."""

    rows: int
    chunks: tuple[Value, ...]
    size: int
    compressed: int
    kept: frozenset[int]
    """Places of columns whose statistics stay."""

    def moved(self, by: int, more: tuple[Value, int]) -> Value:
        """Its pages so many bytes farther on, with one more column, of so many bytes."""
        chunk, size = more
        chunks = [_moved(each, by, place in self.kept) for place, each in enumerate(self.chunks)]
        return structure(
            {
                1: listed(STRUCT, [*chunks, chunk]),
                2: number(self.size + size),
                3: number(self.rows),
                6: number(self.compressed + size),
            }
        )


_OFFSETS = (9, 10, 11)
"""Of data, index and dictionary pages, in a column chunk's metadata."""
_METADATA = (1, 2, 3, 4, 5, 6, 7, *_OFFSETS, 12)
"""What a footer keeps of it. Left out are bloom filters, indices of pages, and counts of encodings and sizes."""


def _moved(chunk: Value, by: int, keeps_statistics: bool) -> Value:
    metadata = chunk.fields[3].fields
    found = {name: metadata[name] for name in _METADATA if name in metadata}
    for name in _OFFSETS:
        if name in found:
            found[name] = number(found[name].number + by)
    if not keeps_statistics:
        found.pop(12, None)
    return structure({2: number(0), 3: structure(found)})


class _Small:
    """A file that is to be packed, taken apart."""

    def __init__(self, source: Original, content: bytes, template: _Template) -> None:
        if len(content) != source.size_bytes or hashlib.sha256(content).hexdigest() != source.digest:
            raise UnfitError(f"{source.file} has other bytes than were written. Run: xlwh repair")
        try:
            (length,) = struct.unpack("<I", content[-_TAIL:-4])
            end = len(content) - _TAIL - length
            self.pages, self.footer = content[len(_MAGIC) : end], content[end:-_TAIL]
            fields = Value(STRUCT, self.footer).fields
            if fields[2].raw != template.plain:
                raise UnfitError(f"{source.file} has the layout of another version of Polars")
            self.groups = tuple(_group(each, template.partition_by) for each in fields[4].items)
            rows = sum(group.rows for group in self.groups)
        except (ValueError, KeyError, struct.error) as error:
            raise UnfitError(f"{source.file} has a footer of another kind: {error}") from error
        if rows != source.rows or fields[3].number != rows:
            raise UnfitError(f"{source.file} has {rows} rows, {source.rows} in the manifest")


def _group(value: Value, partition_by: frozenset[int]) -> _Group:
    fields = value.fields
    rows, chunks = fields[3].number, tuple(fields[1].items)
    every = frozenset(range(len(chunks))) if rows >= _STATED else partition_by
    size, compressed = fields[2].number, fields.get(6, fields[2]).number
    if any({8, 9} & chunk.fields.keys() for chunk in chunks):
        raise UnfitError("it is encrypted")
    return _Group(rows, chunks, size, compressed, every)


class _Template:
    """The footer of a table's files, and of its segments, as Polars writes it."""

    def __init__(self, table: str) -> None:
        columns = dict(schema(table))
        self.plain = _footer_of(pl.DataFrame(schema=columns))[2].raw
        self._fields = _footer_of(pl.DataFrame(schema={**columns, COLUMN: pl.Int64}))
        names = list(columns)
        self.partition_by = frozenset(
            # Partition columns are texts: one leaf each. Leaves before them may be more than columns.
            leaf
            for leaf, name in enumerate(_leaves(self.plain))
            if name in contract(table).partition_by
        )
        assert COLUMN not in names

    def footer(self, rows: int, groups: Sequence[Value]) -> bytes:
        """The footer of a segment."""
        return structure({**self._fields, 3: number(rows), 4: listed(STRUCT, groups)}).raw


@lru_cache(64)
def _template(table: str) -> _Template:
    return _Template(table)


def _footer_of(frame: pl.DataFrame) -> dict[int, Value]:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=1, statistics=True)
    content = buffer.getvalue()
    (length,) = struct.unpack("<I", content[-_TAIL:-4])
    return parsed_struct(content[-_TAIL - length : -_TAIL]).fields


def _leaves(plain: bytes) -> Iterator[str]:
    """Names of the top columns to which the leaves of a schema belong, in their order."""
    elements = [each.fields for each in Value(LIST, plain).items]
    position = 1

    def below(name: str) -> Iterator[str]:
        nonlocal position
        element = elements[position]
        position += 1
        children = element[5].number if 5 in element else 0
        if not children:
            yield name
        for _ in range(children):
            yield from below(name)

    for _ in range(elements[0][5].number):
        yield from below(elements[position][4].text)


# The column of numbers.


def _numbers(place: int, rows: int, at: int) -> tuple[bytes, tuple[Value, int]]:
    """The pages of a column chunk in which every row has one number, and the chunk: its metadata and its bytes."""
    value = struct.pack("<q", place)
    # The head of a run of equal values.
    run = varint(rows << 1)
    levels = run + b"\1"
    data = struct.pack("<I", len(levels)) + levels + b"\1" + run + b"\0"
    dictionary = _page(2, len(value), 7, {1: number(1, I32), 2: number(0, I32)}) + value
    page = (
        _page(
            0, len(data), 5, {1: number(rows, I32), 2: number(8, I32), 3: number(3, I32), 4: number(3, I32)}
        )
        + data
    )
    size = len(dictionary) + len(page)
    metadata = {
        1: number(2, I32),
        2: listed(I32, [number(0, I32), number(3, I32), number(8, I32)]),
        3: listed(BINARY, [binary(COLUMN.encode())]),
        4: number(0, I32),
        5: number(rows),
        6: number(size),
        7: number(size),
        9: number(at + len(dictionary)),
        11: number(at),
        12: structure({3: number(0), 5: binary(value), 6: binary(value)}),
    }
    return dictionary + page, (structure({2: number(0), 3: structure(metadata)}), size)


def _page(kind: int, size: int, field: int, header: dict[int, Value]) -> bytes:
    return structure(
        {1: number(kind, I32), 2: number(size, I32), 3: number(size, I32), field: structure(header)}
    ).raw
