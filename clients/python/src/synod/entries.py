"""What a reader is told of keys."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Entry:
    """A key, as it stood in state `state_ndx`."""

    key: bytes
    value: bytes
    #: The stateNdx that last changed the key: what a compare-and-set expects.
    changed: int
    #: The state from which the answer was read.
    state_ndx: int


@dataclass(frozen=True)
class KeyChange:
    """What became of a key: it holds a value, or it was removed."""

    key: bytes
    #: `None`: it was removed.
    value: bytes | None
    #: Why it was removed: a command did, or its lease ran out.
    removed: Literal["deleted", "expired"] | None

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> KeyChange:
        removed = form.get("removed")
        key = bytes_of(form, "key")
        return cls(key, None if removed else bytes_of(form, "value"), removed)


@dataclass(frozen=True)
class StateChanges:
    """All that one state changed, of the keys that are watched."""

    state_ndx: int
    #: That state's time, in milliseconds since 1970.
    time_ms: int
    changes: tuple[KeyChange, ...]

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> StateChanges:
        changes = tuple(KeyChange.from_json(change) for change in form["changes"])
        return cls(form["stateNdx"], form["timeMs"], changes)


def bytes_of(form: dict[str, Any], name: str) -> bytes:
    """Bytes in JSON: text under their name, or what is no UTF-8 in base64 under another one."""
    text = form.get(name)
    return base64.b64decode(form[f"{name}Base64"]) if text is None else text.encode()
