"""The signed command: what a commander signs, and how it travels (docs/PROTOCOL.md, "The signed command")."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass

from synod import wire
from synod.keys import Key, digest

_DOMAIN = b"synod/command/v1\0"
_HEADER = struct.Struct(">17s32sI32sQQQI")
_ANY_STATE = (1 << 64) - 1


@dataclass(frozen=True)
class SignedCommand:
    """A command as it is submitted. Submitting the same bytes again, anywhere, is always safe: they are executed once at
    most, and a repeat gets the receipt of the first."""

    body: bytes
    signature: bytes
    key: bytes

    @classmethod
    def sign(
        cls,
        key: Key,
        cluster: bytes,
        app: int,
        seq: int,
        operation: bytes,
        *,
        not_after_ms: int | None = None,
        expected: int | None = None,
    ) -> SignedCommand:
        """Signs an operation.

        `not_after_ms`: milliseconds since 1970, after which it is not executed any more.
        `expected`: the stateNdx in which the application must be, else it is refused as `StateMismatch`.
        """
        body = (
            _HEADER.pack(
                _DOMAIN,
                cluster,
                app,
                key.id,
                seq,
                not_after_ms or 0,
                _ANY_STATE if expected is None else expected,
                len(operation),
            )
            + operation
        )
        return cls(body, key.sign(body), key.public)

    @property
    def id(self) -> bytes:
        """SHA3-256 of the body: what was commanded, not how it was signed."""
        return digest(self.body)

    @property
    def app(self) -> int:
        """The application's number."""
        return int(self._fields()[2])

    @property
    def commander(self) -> bytes:
        """Who commands."""
        return bytes(self._fields()[3])

    @property
    def seq(self) -> int:
        """The commander's number for the command."""
        return int(self._fields()[4])

    def _fields(self) -> tuple[bytes | int, ...]:
        return _HEADER.unpack_from(self.body)

    def to_json(self) -> dict[str, str]:
        """As `POST /v1/commands` takes it."""
        parts = {"body": self.body, "signature": self.signature, "key": self.key}
        return {name: base64.b64encode(part).decode() for name, part in parts.items()}

    def to_bytes(self) -> bytes:
        """The wire encoding: to keep, and to submit again after a restart."""
        return b"".join(wire.blob(part) for part in (self.body, self.signature, self.key))

    @classmethod
    def from_bytes(cls, data: bytes) -> SignedCommand:
        """The opposite of `to_bytes`."""
        reader = wire.Reader(data)
        command = cls(reader.blob(), reader.blob(), reader.blob())
        reader.end()
        if len(command.body) < _HEADER.size or not command.body.startswith(_DOMAIN):
            raise wire.WireError("the body is not that of a command")
        return command
