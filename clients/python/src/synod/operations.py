"""What a command can do to the key-value application, as bytes (docs/PROTOCOL.md, "The key-value application").

Keys and values are bytes; text stands for its UTF-8. A lease is named by the stateNdx that granted it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from synod.wire import blob, number, option, sequence, signed

#: Bytes, or text that stands for its UTF-8.
Text = str | bytes
#: How what is there stands to what is given.
Relation = Literal["==", "!=", "<", ">"]

_RELATIONS: tuple[Relation, ...] = ("==", "!=", "<", ">")


class Operation(Protocol):
    """Whatever an application can be told to do."""

    def operation(self) -> bytes:
        """The operation of a command."""


def as_bytes(text: Text) -> bytes:
    """The bytes that are meant."""
    return text.encode() if isinstance(text, str) else text


def _text(text: Text) -> bytes:
    return blob(as_bytes(text))


def _app(variant: int, *fields: bytes) -> bytes:
    """The application's operation: a zero byte, the variant's place, its fields."""
    return b"\0" + number(variant) + b"".join(fields)


@dataclass(frozen=True)
class Put:
    """Sets a key. With a lease it ends when that does; without, it is freed from any."""

    key: Text
    value: Text
    lease: int | None = None

    def operation(self) -> bytes:
        if self.lease is None:
            return _app(0, _text(self.key), _text(self.value))
        return _app(6, _text(self.key), _text(self.value), number(self.lease))

    def change(self) -> bytes:
        return number(0) + _text(self.key) + _text(self.value) + option(self.lease, number)


@dataclass(frozen=True)
class Delete:
    """Removes a key, if it is there."""

    key: Text

    def operation(self) -> bytes:
        return _app(1, _text(self.key))

    def change(self) -> bytes:
        return number(1) + _text(self.key)


@dataclass(frozen=True)
class DeletePrefix:
    """Removes every key that begins so."""

    prefix: Text

    def operation(self) -> bytes:
        return _app(4, _text(self.prefix))

    def change(self) -> bytes:
        return number(2) + _text(self.prefix)


@dataclass(frozen=True)
class Add:
    """Adds to a counter: a key whose value is a whole number in decimal digits. One that does not exist counts as 0."""

    key: Text
    delta: int

    def operation(self) -> bytes:
        return _app(5, _text(self.key), signed(self.delta))

    def change(self) -> bytes:
        return number(3) + _text(self.key) + signed(self.delta)


@dataclass(frozen=True)
class CompareAndSet:
    """Sets a key if `expected` is the stateNdx that last changed it; `None`: if it does not exist."""

    key: Text
    expected: int | None
    value: Text

    def operation(self) -> bytes:
        return _app(2, _text(self.key), option(self.expected, number), _text(self.value))


#: What a transaction can do.
Change = Put | Delete | DeletePrefix | Add


@dataclass(frozen=True)
class Condition:
    """What must hold of a key before a transaction. Made by `exists`, `absent`, `value`, `created` and `changed`."""

    key: Text
    encoded: bytes


def exists(key: Text) -> Condition:
    """The key exists."""
    return Condition(key, number(0))


def absent(key: Text) -> Condition:
    """The key does not exist."""
    return Condition(key, number(1))


def value(key: Text, relation: Relation, than: Text) -> Condition:
    """The value stands so to this one, by the order of bytes."""
    return Condition(key, number(2) + _relation(relation) + _text(than))


def created(key: Text, relation: Relation, state_ndx: int) -> Condition:
    """The state that made the key stands so to this one."""
    return Condition(key, number(3) + _relation(relation) + number(state_ndx))


def changed(key: Text, relation: Relation, state_ndx: int) -> Condition:
    """The state that last changed the key stands so to this one."""
    return Condition(key, number(4) + _relation(relation) + number(state_ndx))


def _relation(relation: Relation) -> bytes:
    return number(_RELATIONS.index(relation))


@dataclass(frozen=True)
class Txn:
    """Makes one of two lists of changes, as a whole, in one state: `then` where all of `compare` holds."""

    compare: Sequence[Condition] = ()
    then: Sequence[Change] = ()
    otherwise: Sequence[Change] = ()

    def operation(self) -> bytes:
        return _app(
            3,
            sequence(_text(condition.key) + condition.encoded for condition in self.compare),
            sequence(change.change() for change in self.then),
            sequence(change.change() for change in self.otherwise),
        )


@dataclass(frozen=True)
class GrantLease:
    """Grants a lease, named by the stateNdx that the command makes."""

    ttl_ms: int

    def operation(self) -> bytes:
        return _app(7, number(self.ttl_ms))


@dataclass(frozen=True)
class KeepAlive:
    """Lets leases last their whole time again."""

    leases: Sequence[int]

    def operation(self) -> bytes:
        return _app(8, sequence(number(lease) for lease in self.leases))


@dataclass(frozen=True)
class RevokeLease:
    """Ends a lease, and with it every key that is bound to it."""

    lease: int

    def operation(self) -> bytes:
        return _app(9, number(self.lease))


@dataclass(frozen=True)
class Compact:
    """Forgets what was before a state."""

    through: int

    def operation(self) -> bytes:
        return _app(10, number(self.through))


@dataclass(frozen=True)
class Configure:
    """Sets limits of the application; what is `None` stays as it is. For administrators."""

    quota_bytes: int | None = None
    history_states: int | None = None
    history_bytes: int | None = None
    history_age_ms: int | None = None

    def operation(self) -> bytes:
        limits = (self.quota_bytes, self.history_states, self.history_bytes, self.history_age_ms)
        return _app(11, *(option(limit, number) for limit in limits))
