"""What a commander gets for an executed command."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

R = TypeVar("R", covariant=True)


@dataclass(frozen=True)
class Receipt:
    """A command was executed and done."""

    app: int
    seq: int
    #: How many commands the application had executed with this one: give it as `min` to whoever is to see the change.
    state_ndx: int
    #: The hash chain's value there.
    chain: bytes
    #: The application's answer.
    answer: bytes

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> Receipt:
        """Reads what `POST /v1/commands` answers with 200."""
        return cls(
            app=form["appNdx"],
            seq=form["seq"],
            state_ndx=form["stateNdx"],
            chain=bytes.fromhex(form["chain"]),
            answer=base64.b64decode(form["outcome"]["done"]),
        )


@dataclass(frozen=True)
class Done(Generic[R]):
    """An operation was done: what it answered, and the receipt."""

    reply: R
    receipt: Receipt

    @property
    def state_ndx(self) -> int:
        """The stateNdx that it made."""
        return self.receipt.state_ndx
