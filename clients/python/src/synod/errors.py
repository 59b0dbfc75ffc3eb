"""What can go wrong, told apart by the one thing that matters: whether the command may have been executed."""

from __future__ import annotations

from typing import Any

from synod.command import SignedCommand


class SynodError(Exception):
    """Whatever this package raises."""


class NotProved(SynodError):
    """An answer was to be proved from the genesis document on, and is not: nothing of it may be believed."""


class BadStateVector(SynodError, ValueError):
    """A text is no `StateVector`."""

    def __init__(self, token: str) -> None:
        super().__init__(
            f'{token!r} is no state vector: a list of appNdx and stateNdx is expected, as in "1=7, 2=5", each application once'
        )


class Unreachable(SynodError):
    """No node answered. A command was not executed: no node took it."""


class OutcomeUnknown(SynodError):
    """The command was sent, and nothing is known: it may have been executed, or may still be. Submit `command` again to
    find out (`Client.submit`); it is executed once at most."""

    def __init__(self, command: SignedCommand, why: str) -> None:
        super().__init__(f"nothing is known of the command: {why}; submit the same bytes again to find out")
        self.command = command


class Problem(SynodError):
    """A node's answer says why not: problem+json (RFC 9457). `code` is the last part of its `type`."""

    def __init__(self, body: dict[str, Any], state_ndx: int | None = None) -> None:
        #: As a program tells problems apart: `"conflict"`.
        self.code = str(body.get("type", "")).rsplit("/", 1)[-1]
        #: The HTTP status.
        self.status = int(body.get("status", 0))
        #: What happened and what to do, for people.
        self.detail = str(body.get("detail", ""))
        #: The stateNdx that the answer speaks of, where it speaks of one.
        self.state_ndx = state_ndx
        #: Everything that was said.
        self.body = body
        super().__init__(f"{self.code}: {self.detail}")


class NotFound(Problem):
    """There is no such thing, in the state that was read."""


class Forgotten(Problem):
    """What was asked about is no longer remembered; `oldest` is the oldest stateNdx that is."""

    @property
    def oldest(self) -> int | None:
        oldest = self.body.get("oldest")
        return None if oldest is None else int(oldest)


class Behind(Problem):
    """No node that answers came to a state in time that this client has seen, or that `min` or `at` asks for. Ask again; where
    none ever does, that state is of another cluster."""


class Refused(Problem):
    """A command was refused. With a receipt it was executed, and changed nothing; without, it left no trace."""

    @property
    def receipt(self) -> dict[str, Any] | None:
        """The receipt of a command that was executed and refused."""
        return self.body.get("receipt")


class NotPermitted(Refused):
    """The commander may not do this: it is not known, was revoked, commands too early or too late, or its role or
    scopes do not permit it."""


class NotACommand(Refused):
    """The bytes are not a command of this cluster, too large, or wrongly signed."""


class Expired(Refused):
    """`not_after_ms` has passed."""


class SeqTaken(Refused):
    """The seq was used for another command, or is outside of the window."""


class StateMismatch(Refused):
    """The application was not in the expected state."""


class Conflict(Refused):
    """The operation's own condition did not hold."""


class QuotaExceeded(Refused):
    """The application's own limit."""


class ContentMissing(Refused):
    """A file to which the operation refers was not uploaded."""


class Unavailable(Refused):
    """No node could take the command in time, and none did: too much waits, or there is no leader."""


_REFUSALS: dict[str, type[Refused]] = {
    "bad-signature": NotACommand,
    "malformed": NotACommand,
    "too-large": NotACommand,
    "wrong-cluster": NotACommand,
    "unknown-app": NotACommand,
    "unknown-commander": NotPermitted,
    "revoked": NotPermitted,
    "not-permitted": NotPermitted,
    "not-valid-now": NotPermitted,
    "expired": Expired,
    "stale-seq": SeqTaken,
    "seq-reused": SeqTaken,
    "seq-too-far": SeqTaken,
    "state-mismatch": StateMismatch,
    "conflict": Conflict,
    "quota-exceeded": QuotaExceeded,
    "content-missing": ContentMissing,
    "busy": Unavailable,
    "no-leader": Unavailable,
    "timeout": Unavailable,
    "stopping": Unavailable,
    "no-space": Unavailable,
}


def refusal(body: dict[str, Any], state_ndx: int | None = None) -> Refused:
    """The refusal of a command, as its code wants it."""
    code = str(body.get("type", "")).rsplit("/", 1)[-1]
    return _REFUSALS.get(code, Refused)(body, state_ndx)


def reading(body: dict[str, Any], state_ndx: int | None = None) -> Problem:
    """The problem of a read."""
    status = body.get("status")
    kinds = {404: NotFound, 410: Forgotten, 504: Behind}
    kind = kinds.get(status, Problem) if isinstance(status, int) else Problem
    return kind(body, state_ndx)
