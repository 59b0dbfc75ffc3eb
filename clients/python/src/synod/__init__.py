"""Synod: signed commands in, stateNdx out.

    from synod import Client

    with Client.load("certs/cluster/client.toml") as client:
        done = client.put("greeting", "hello")
        print(done.state_ndx, client.get("greeting").value)

`Client` commands and reads one key-value application. Every call may be repeated safely: a command travels as the same signed
bytes to node after node, is executed once at most, and `OutcomeUnknown` carries these bytes where no node answered in time.
"""

from synod.client import Client
from synod.command import SignedCommand
from synod.entries import Entry, KeyChange, StateChanges
from synod.errors import (
    BadStateVector,
    Behind,
    Conflict,
    ContentMissing,
    Expired,
    Forgotten,
    NotACommand,
    NotFound,
    NotPermitted,
    NotProved,
    OutcomeUnknown,
    Problem,
    QuotaExceeded,
    Refused,
    SeqTaken,
    StateMismatch,
    SynodError,
    Unavailable,
    Unreachable,
)
from synod.keys import Key
from synod.nodes import Node
from synod.operations import (
    Add,
    CompareAndSet,
    Configure,
    Delete,
    DeletePrefix,
    Put,
    Txn,
    absent,
    changed,
    created,
    exists,
    value,
)
from synod.proofs import Proved
from synod.receipt import Done, Receipt
from synod.state_vector import StateVector
from synod.watch import Watch

__all__ = [
    "Add", "BadStateVector", "Behind", "Client", "CompareAndSet", "Configure", "Conflict", "ContentMissing", "Delete",
    "DeletePrefix", "Done", "Entry", "Expired", "Forgotten", "Key", "KeyChange", "Node", "NotACommand", "NotFound",
    "NotPermitted", "NotProved", "OutcomeUnknown", "Problem", "Proved", "Put", "QuotaExceeded", "Receipt", "Refused",
    "SeqTaken", "SignedCommand", "StateChanges", "StateMismatch", "StateVector", "SynodError", "Txn", "Unavailable",
    "Unreachable", "Watch", "absent", "changed", "created", "exists", "value",
]  # fmt: skip
