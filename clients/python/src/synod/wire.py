"""The wire encoding: postcard 1, as far as Synod uses it (docs/PROTOCOL.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

_U64 = (1 << 64) - 1


def number(n: int) -> bytes:
    """An unsigned number of up to 64 bits, or the place of an enum's variant: LEB128."""
    if not 0 <= n <= _U64:
        raise ValueError(f"{n} does not fit into 64 bits")
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def signed(n: int) -> bytes:
    """A signed number of 64 bits: zigzag, then LEB128."""
    if not -(1 << 63) <= n < 1 << 63:
        raise ValueError(f"{n} does not fit into 64 bits with a sign")
    return number(n << 1 if n >= 0 else (-n << 1) - 1)


def blob(value: bytes) -> bytes:
    """Bytes behind their length."""
    return number(len(value)) + value


def option(value: T | None, encode: Callable[[T], bytes]) -> bytes:
    """Nothing, or a value."""
    return b"\0" if value is None else b"\1" + encode(value)


def sequence(items: Iterable[bytes]) -> bytes:
    """Encoded items behind their count."""
    encoded = list(items)
    return number(len(encoded)) + b"".join(encoded)


class WireError(ValueError):
    """Bytes that are not what they should be."""


class Reader:
    """Reads values one after another, and nothing behind the last one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise WireError(f"{count} bytes are wanted where {len(self._data) - self._at} are left")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise WireError("a number has more than 64 bits")
        if value > _U64:
            raise WireError("a number has more than 64 bits")
        return value

    def signed(self) -> int:
        n = self.number()
        return (n >> 1) ^ -(n & 1)

    def boolean(self) -> bool:
        byte = self.take(1)[0]
        if byte > 1:
            raise WireError(f"{byte} is neither true nor false")
        return byte == 1

    def blob(self) -> bytes:
        return self.take(self.number())

    def option(self, decode: Callable[[], T]) -> T | None:
        return decode() if self.boolean() else None

    def sequence(self, decode: Callable[[], T]) -> tuple[T, ...]:
        return tuple(decode() for _ in range(self.number()))

    def end(self) -> None:
        left = len(self._data) - self._at
        if left:
            raise WireError(f"{left} bytes are left over")
