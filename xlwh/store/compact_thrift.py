"""Just so much of Thrift's compact protocol that the footer of a Parquet file can be taken apart and put together anew.

Values are kept as the bytes that they were, unless they are asked for. Source: "Thrift compact protocol",
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

BYTE, I16, I32, I64, BINARY, LIST, STRUCT = 3, 4, 5, 6, 8, 9, 12
P = ParamSpec("P")
T = TypeVar("T")

_TRUE, _FALSE, _DOUBLE, _SET, _MAP = 1, 2, 7, 10, 11


@dataclass(frozen=True, slots=True)
class Value:
    """A value as it is written: its type, and its bytes without what is before them in a struct or a list."""

    kind: int
    raw: bytes

    @property
    def number(self) -> int:
        """Of an integer. ValueError for any other value."""
        if self.kind not in (I16, I32, I64):
            raise ValueError(f"a value of type {self.kind} is no integer")
        found, _ = _varint(self.raw, 0)
        return (found >> 1) ^ -(found & 1)

    @property
    def text(self) -> str:
        """Of a string. ValueError for any other value."""
        if self.kind != BINARY:
            raise ValueError(f"a value of type {self.kind} is no text")
        size, at = _varint(self.raw, 0)
        return self.raw[at : at + size].decode()

    @property
    def fields(self) -> dict[int, Value]:
        """Of a struct, by their numbers. ValueError for any other value, and for one that is damaged."""
        if self.kind != STRUCT:
            raise ValueError(f"a value of type {self.kind} is no struct")
        return _guarded(_fields, self.raw, 0)[0]

    @property
    def items(self) -> list[Value]:
        """Of a list. ValueError for any other value, and for one that is damaged."""
        if self.kind != LIST:
            raise ValueError(f"a value of type {self.kind} is no list")
        return _guarded(_items, self.raw)


def parsed_struct(raw: bytes) -> Value:
    """The struct that some bytes are. ValueError for bytes that are none."""
    end = _guarded(_skip, raw, 0, STRUCT)
    if end != len(raw):
        raise ValueError("more follows a struct than belongs to it")
    return Value(STRUCT, raw)


def _guarded(read: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    try:
        return read(*arguments, **named)
    except (IndexError, RecursionError) as error:
        raise ValueError("a struct is cut short, or nested too deeply") from error


def number(value: int, kind: int = I64) -> Value:
    """An integer."""
    return Value(kind, varint((value << 1) ^ (value >> 63)))


def binary(content: bytes) -> Value:
    """A string, or bytes."""
    return Value(BINARY, varint(len(content)) + content)


def listed(kind: int, values: Iterable[Value]) -> Value:
    """A list of values of one type."""
    every = [each.raw for each in values]
    count = len(every)
    head = bytes([count << 4 | kind]) if count < 15 else bytes([0xF0 | kind]) + varint(count)
    return Value(LIST, head + b"".join(every))


def structure(fields: Mapping[int, Value]) -> Value:
    """A struct of fields by their numbers."""
    parts, last = [], 0
    for name, value in sorted(fields.items()):
        delta = name - last
        if 0 < delta < 16:
            parts.append(bytes([delta << 4 | value.kind]))
        else:
            parts.append(bytes([value.kind]) + varint((name << 1) ^ (name >> 63)))
        parts.append(value.raw)
        last = name
    return Value(STRUCT, b"".join(parts) + b"\0")


def _fields(raw: bytes, at: int) -> tuple[dict[int, Value], int]:
    found: dict[int, Value] = {}
    last = 0
    while head := raw[at]:
        kind, delta = head & 15, head >> 4
        at += 1
        if delta:
            last += delta
        else:
            zigzag, at = _varint(raw, at)
            last = (zigzag >> 1) ^ -(zigzag & 1)
        end = _skip(raw, at, kind)
        found[last] = Value(kind, raw[at:end])
        at = end
    return found, at + 1


def _items(raw: bytes) -> list[Value]:
    count, kind, at = _list_head(raw, 0)
    found = []
    for _ in range(count):
        end = _skip(raw, at, kind, in_list=True)
        found.append(Value(kind, raw[at:end]))
        at = end
    return found


def _list_head(raw: bytes, at: int) -> tuple[int, int, int]:
    head = raw[at]
    at += 1
    count = head >> 4
    if count == 15:
        count, at = _varint(raw, at)
    return count, head & 15, at


def _skip(raw: bytes, at: int, kind: int, in_list: bool = False) -> int:
    """Where a value ends that begins at a place. IndexError where it is cut short."""
    if kind in (I16, I32, I64):
        while raw[at] & 0x80:
            at += 1
        return at + 1
    if kind == BINARY:
        size, at = _varint(raw, at)
        return _within(raw, at + size)
    if kind == STRUCT:
        while head := raw[at]:
            at += 1
            if not head >> 4:
                _, at = _varint(raw, at)
            at = _skip(raw, at, head & 15)
        return at + 1
    if kind in (LIST, _SET):
        count, inner, at = _list_head(raw, at)
        for _ in range(count):
            at = _skip(raw, at, inner, in_list=True)
        return at
    if kind in (_TRUE, _FALSE):
        return _within(raw, at + 1) if in_list else at
    if kind == BYTE:
        return _within(raw, at + 1)
    if kind == _DOUBLE:
        return _within(raw, at + struct.calcsize("<d"))
    raise ValueError(f"there is no type {kind}")


def _within(raw: bytes, end: int) -> int:
    if end > len(raw):
        raise IndexError
    return end


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    shift = found = 0
    while True:
        byte = raw[at]
        at += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def varint(value: int) -> bytes:
    """A number that is not negative, in as few bytes as it needs."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
