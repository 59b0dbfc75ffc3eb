"""The bytes of operations and replies, against the table that `src/cli/tests/operations.rs` holds the Rust code to."""

from __future__ import annotations

import pytest
from conftest import golden

from synod import operations as ops
from synod import replies
from synod.wire import Reader, WireError, number, signed

BIG = (1 << 64) - 1
OPERATIONS = {
    "put": ops.Put("k", "v"),
    "put, bytes": ops.Put(bytes(range(256)), b"\0" * 300),
    "put, empty value": ops.Put("k", ""),
    "put, bound": ops.Put("k", "v", lease=300),
    "delete": ops.Delete("k"),
    "compare and set, absent": ops.CompareAndSet("k", None, "v"),
    "compare and set": ops.CompareAndSet("k", BIG, "v"),
    "transaction, empty": ops.Txn(),
    "transaction": ops.Txn(
        [
            ops.exists("a"),
            ops.absent("b"),
            ops.value("c", "==", "x"),
            ops.value("c", "!=", ""),
            ops.created("d", "<", 128),
            ops.changed("e", ">", 16384),
        ],
        [
            ops.Put("a", "1"),
            ops.Put("a", "2", lease=7),
            ops.Delete("b"),
            ops.DeletePrefix("c/"),
            ops.Add("n", -1),
        ],
        [ops.Add("n", 1)],
    ),
    "delete prefix": ops.DeletePrefix("k/"),
    "add": ops.Add("n", 1),
    "add, nothing": ops.Add("n", 0),
    "add, least": ops.Add("n", -(1 << 63)),
    "add, most": ops.Add("n", (1 << 63) - 1),
    "grant lease": ops.GrantLease(60_000),
    "keep alive": ops.KeepAlive([1, 300]),
    "revoke lease": ops.RevokeLease(300),
    "compact": ops.Compact(1000),
    "configure": ops.Configure(quota_bytes=1 << 30, history_age_ms=1000),
}
REPLIES = {
    "written, new": replies.Written(None),
    "written": replies.Written(300),
    "deleted": replies.Deleted(True),
    "deleted, nothing": replies.Deleted(False),
    "transaction": replies.TxnDone(
        None, (replies.PutDone(True), replies.DeletedMany(300), replies.Counted(-(1 << 63)))
    ),
    "transaction, otherwise": replies.TxnDone(2, ()),
    "deleted many": replies.DeletedMany(BIG),
    "counted": replies.Counted(-300),
    "leased": replies.Leased(),
    "kept alive": replies.KeptAlive((7, 300)),
    "compacted": replies.Compacted(1000),
    "configured": replies.Configured(),
}


def test_both_sides_know_the_same_operations_and_replies() -> None:
    assert {one["name"] for one in golden("operations")} == set(OPERATIONS)
    assert {one["name"] for one in golden("replies")} == set(REPLIES)


@pytest.mark.parametrize("one", golden("operations"), ids=lambda one: one["name"])
def test_an_operation_has_the_bytes_that_the_nodes_read(one: dict[str, str]) -> None:
    assert OPERATIONS[one["name"]].operation().hex() == one["bytes"]


@pytest.mark.parametrize("one", golden("replies"), ids=lambda one: one["name"])
def test_a_reply_is_read_as_the_nodes_write_it(one: dict[str, str]) -> None:
    encoded = bytes.fromhex(one["bytes"])
    assert replies.decode(encoded) == REPLIES[one["name"]]
    for bad in (encoded[:-1], encoded + b"\0"):
        with pytest.raises(WireError):
            replies.decode(bad)


@pytest.mark.parametrize("n", [0, 1, -1, 63, 64, -64, -65, (1 << 63) - 1, -(1 << 63)])
def test_numbers_with_a_sign_are_read_back(n: int) -> None:
    assert Reader(signed(n)).signed() == n


def test_numbers_have_64_bits() -> None:
    assert Reader(number(BIG)).number() == BIG
    for encode, n in [(number, -1), (number, BIG + 1), (signed, 1 << 63), (signed, -(1 << 63) - 1)]:
        with pytest.raises(ValueError, match="64 bits"):
            encode(n)
    for bad in (b"\xff" * 9 + b"\x02", b"\xff" * 10 + b"\x01"):
        with pytest.raises(WireError):
            Reader(bad).number()
