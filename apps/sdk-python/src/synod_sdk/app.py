"""What an application is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from hashlib import sha3_256
from typing import ClassVar, Final

CODES: Final = ("malformed", "too-large", "not-permitted", "conflict", "quota-exceeded")
"""With which codes an application may refuse."""

TEXT_BYTES_MAX: Final = 256
"""Bytes of the text in a refusal."""


@dataclass(frozen=True, slots=True)
class Context:
    """What an application knows of the command that it executes, and nothing else."""

    state_ndx: int
    """The state that this command makes."""
    time: int
    """The decree's time, milliseconds since 1970, never less than in the command before."""
    clock: int
    """The lease clock, in milliseconds."""
    commander: str
    """Who commands, in hex; already known to be permitted."""


class Refused(Exception):
    """A command is refused: an outcome like any other. The state must be as it was before the command."""

    def __init__(self, code: str, text: str) -> None:
        if code not in CODES:
            raise ValueError(f"{code!r} is none of {', '.join(CODES)}")
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text.encode()[:TEXT_BYTES_MAX].decode(errors="ignore")
        """At most so many bytes; more is cut off."""


class NotAQuery(Exception):
    """The bytes are no query of this application."""


class App(ABC):
    """A deterministic state machine; made without arguments, it has the state before the first command."""

    kind: ClassVar[str]
    """Which kind of application this is, as the cluster's genesis document names it."""
    checks: ClassVar[bool] = False
    """Whether `check` is to be asked before commands are ordered. It costs each command a way to this process."""

    @abstractmethod
    def apply(self, context: Context, operation: bytes) -> bytes:
        """Executes an operation; the answer has at most 2,048 bytes.

        Raises `Refused` where it is refused. **Any other exception ends the process, and the application stands still in front of
        that command on every node**, until a program is there that does not raise over it.
        """

    @abstractmethod
    def query(self, state_ndx: int, query: bytes) -> bytes:
        """Answers a query from this state, whose number is `state_ndx`; at most 4 MiB. Raises `NotAQuery`."""

    @abstractmethod
    def snapshot(self) -> bytes:
        """The whole state; equal states give equal bytes, on every node. The work waits for it."""

    @abstractmethod
    def restore(self, snapshot: bytes) -> None:
        """Takes the state that a snapshot holds."""

    def check(self, operation: bytes) -> None:  # noqa: B027 (whoever checks nothing has nothing to say here)
        """Raises `Refused` for an operation that `apply` would refuse as well, as far as the operation alone can tell."""

    def digest(self) -> bytes:
        """A digest of the state, 32 bytes: equal exactly where the states are equal."""
        return sha3_256(self.snapshot()).digest()
