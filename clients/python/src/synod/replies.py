"""What the key-value application answers in a receipt (docs/PROTOCOL.md, "The key-value application")."""

from __future__ import annotations

from dataclasses import dataclass

from synod.wire import Reader, WireError


@dataclass(frozen=True)
class Written:
    """The key has the value. `previous`: the stateNdx that had changed it before; `None`: it is new."""

    previous: int | None


@dataclass(frozen=True)
class Deleted:
    """The key does not exist any more; whether it did."""

    existed: bool


@dataclass(frozen=True)
class PutDone:
    """In a transaction: the key has the value; whether there was such a key."""

    existed: bool


@dataclass(frozen=True)
class DeletedMany:
    """So many keys do not exist any more."""

    count: int


@dataclass(frozen=True)
class Counted:
    """The counter has this value."""

    value: int


@dataclass(frozen=True)
class TxnDone:
    """Which list was made, and what came of each of its changes. `failed`: the first condition that did not hold;
    `None`: `then` was made."""

    failed: int | None
    results: tuple[PutDone | DeletedMany | Counted, ...]

    @property
    def succeeded(self) -> bool:
        """Whether all conditions held."""
        return self.failed is None


@dataclass(frozen=True)
class Leased:
    """The lease is granted; its name is the receipt's stateNdx."""


@dataclass(frozen=True)
class KeptAlive:
    """The leases last their whole time again, but for those that are over."""

    gone: tuple[int, ...]


@dataclass(frozen=True)
class Compacted:
    """What was before is forgotten; the oldest state that can still be read."""

    oldest: int


@dataclass(frozen=True)
class Configured:
    """The limits are set."""


Reply = Written | Deleted | TxnDone | DeletedMany | Counted | Leased | KeptAlive | Compacted | Configured


def decode(answer: bytes) -> Reply:
    """Reads the answer in a receipt."""
    reader = Reader(answer)
    reply = _reply(reader)
    reader.end()
    return reply


def _reply(reader: Reader) -> Reply:
    variant = reader.number()
    if variant == 0:
        return Written(reader.option(reader.number))
    if variant == 1:
        return Deleted(reader.boolean())
    if variant == 2:
        return TxnDone(reader.option(reader.number), reader.sequence(lambda: _result(reader)))
    if variant == 3:
        return DeletedMany(reader.number())
    if variant == 4:
        return Counted(reader.signed())
    if variant == 5:
        return Leased()
    if variant == 6:
        return KeptAlive(reader.sequence(reader.number))
    if variant == 7:
        return Compacted(reader.number())
    if variant == 8:
        return Configured()
    raise WireError(f"the key-value application has no reply {variant}")


def _result(reader: Reader) -> PutDone | DeletedMany | Counted:
    variant = reader.number()
    if variant == 0:
        return PutDone(reader.boolean())
    if variant == 1:
        return DeletedMany(reader.number())
    if variant == 2:
        return Counted(reader.signed())
    raise WireError(f"a transaction has no result {variant}")
