"""The bytes of commands, against the vectors that `openssl` made and the Rust code is held to."""

from __future__ import annotations

import hashlib

import pytest
from conftest import vector

from synod import Key, SignedCommand
from synod.wire import WireError

CLUSTER = hashlib.sha3_256(b"a cluster for test vectors\n").digest()
CASES = {
    "ed25519": {
        "app": 1,
        "seq": 7,
        "not_after_ms": 1_700_000_000_000,
        "operation": b"\0an operation signed with Ed25519",
    },
    "rsa-2048": {
        "app": 0x01020304,
        "seq": (1 << 40) + 1,
        "expected": 41,
        "operation": b"\0an operation signed with RSA",
    },
}


@pytest.mark.parametrize("name", CASES)
def test_a_command_has_the_bytes_of_the_vector(name: str) -> None:
    key = Key.from_pem(vector(f"{name}.key.pem"))
    command = SignedCommand.sign(key, CLUSTER, **CASES[name])  # type: ignore[arg-type]
    assert command.body == vector(f"{name}.body.bin")
    assert command.signature == vector(f"{name}.signature.bin")
    ids = vector(f"{name}.ids.txt").decode()
    assert command.id.hex() in ids and key.id.hex() in ids


def test_a_command_is_kept_and_read_back() -> None:
    key = Key.generate()
    command = SignedCommand.sign(key, CLUSTER, 3, 9, b"\0x" * 100)
    again = SignedCommand.from_bytes(command.to_bytes())
    assert again == command
    assert (again.app, again.commander, again.seq) == (3, key.id, 9)
    for bad in (b"", command.to_bytes()[:-1], command.to_bytes() + b"\0", b"\1x\1y\1z"):
        with pytest.raises(WireError):
            SignedCommand.from_bytes(bad)


def test_a_key_is_written_and_read_back() -> None:
    key = Key.generate()
    assert Key.from_pem(key.to_pem()).id == key.id
    assert repr(key) == f"Key({key.id.hex()[:12]})"
