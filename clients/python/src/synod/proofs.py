"""What a key holds, proved from the genesis document on: whoever answered need not be trusted (docs/PROTOCOL.md, "Proofs")."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from synod.errors import NotProved
from synod.keys import digest

#: Steps of the longest way from the root to a key.
_STEPS_MAX = 128
_NOTHING = bytes(32)


@dataclass(frozen=True)
class Proved:
    """What was proved of a key."""

    key: bytes
    #: What it holds; `None`: there is no such key.
    value: bytes | None
    #: The stateNdx that last changed it.
    changed: int | None
    #: The state of which it is proved, which may be a second old.
    state_ndx: int
    #: The ids of the members that signed that state.
    signers: tuple[bytes, ...]


def verify(answer: dict[str, Any], genesis: bytes, app: int, key: bytes, *, min: int | None = None) -> Proved:
    """What `answer`, of anybody to `/v1/apps/{app}/kv/{key}?proof=1`, proves of `key`.

    `genesis`: the document's very bytes. `app`: the application's number. `min`: the least state that will do.

    Raises `NotProved` with the reason; nothing of the answer may be believed then.
    """
    try:
        return _verify(answer, genesis, app, key, min)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise NotProved(f"the answer is not what a node answers: {error!r}") from error


def _verify(answer: dict[str, Any], genesis: bytes, app: int, key: bytes, least: int | None) -> Proved:
    statement, signers = _certified(answer["certificate"], genesis, app)
    state_ndx, root = statement["stateNdx"], _digest(statement["root"])
    if state_ndx != answer["stateNdx"]:
        raise NotProved(
            f"the answer says state {answer['stateNdx']}, and the certificate is of state {state_ndx}"
        )
    if least is not None and state_ndx < least:
        raise NotProved(f"the state is {state_ndx}, and an earlier one than was asked for")
    found, shown = _shown(answer["proof"], digest(key))
    if digest(b"synod/kv/root/v1\0" + found) != root:
        raise NotProved("the proof leads to another root: it is of another state or key, or was changed")
    entry = answer["entry"]
    if entry is None:
        if shown is not None:
            raise NotProved("the answer says that there is no such key, and there is one")
        return Proved(key, None, None, state_ndx, signers)
    if shown is None:
        raise NotProved("the answer has a value, and there is no such key")
    if _bytes_of(entry, "key") != key:
        raise NotProved("the answer is of another key than was asked for")
    value = _bytes_of(entry, "value")
    # A lease is a state, and states count from 1.
    numbers = (entry["created"], entry["changed"], entry.get("lease") or 0)
    held = b"synod/kv/entry/v1\0" + b"".join(_u64(number) for number in numbers) + value
    if digest(held) != shown:
        raise NotProved("the key holds something else than the answer says")
    return Proved(key, value, entry["changed"], state_ndx, signers)


def _shown(proof: dict[str, Any], path: bytes) -> tuple[bytes, bytes | None]:
    """The root to which a proof leads along a path, and the digest of what the key holds there, if it is there."""
    steps, leaf = proof["steps"], proof["leaf"]
    if len(steps) > _STEPS_MAX:
        raise NotProved(f"the proof has {len(steps)} steps; none has more than {_STEPS_MAX}")
    node, value = _NOTHING, None
    if leaf is not None:
        whose, holds = _digest(leaf["path"]), _digest(leaf["value"])
        if any(_way(whose, step) != _way(path, step) for step in range(len(steps))):
            raise NotProved("the proof ends in the leaf of another key, which does not belong there")
        node = digest(b"leaf/v1" + whose + holds)
        value = holds if whose == path else None
    for step in reversed(range(len(steps))):
        others = [_NOTHING if part is None else _digest(part) for part in steps[step]]
        if _NOTHING.hex() in steps[step]:
            raise NotProved("a part without keys is written as null")
        if len(others) != 3:
            raise NotProved(f"a step of the proof has {len(others)} digests, and 3 are expected")
        others.insert(_way(path, step), node)
        node = digest(b"fork/v1" + b"".join(others))
    return node, value


def _way(path: bytes, step: int) -> int:
    """Two bits for each step, the highest first."""
    return path[step // 4] >> (6 - 2 * (step % 4)) & 3


def _certified(bundle: dict[str, Any], genesis: bytes, app: int) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    """What members signed, proved from genesis on: the statement, and who signed it."""
    cluster = digest(genesis)
    if bundle["format"] != "synod/certificate-bundle/v1":
        raise NotProved(f"a certificate of format {bundle['format']!r}, which this package does not read")
    if _digest(bundle["cluster"]) != cluster:
        raise NotProved("the certificate is of another cluster than the genesis document")
    document = json.loads(genesis)
    members = [digest(base64.b64decode(node["key"])) for node in document["nodes"]]
    epoch = document["origin"]["epoch"] if document.get("origin") else 0
    for handover in bundle["handovers"]:
        if handover["epoch"] <= epoch:
            raise NotProved(f"epoch {handover['epoch']} comes behind epoch {epoch}")
        _signed(handover, cluster, app, epoch, members)
        epoch, members = handover["epoch"], [_digest(member) for member in handover["members"]]
    certificate = bundle["certificate"]
    return certificate, _signed(certificate, cluster, app, epoch, members)


def _signed(
    certificate: dict[str, Any], cluster: bytes, app: int, known_epoch: int, known: list[bytes]
) -> tuple[bytes, ...]:
    """Who signed a certificate: a majority of its members, and of those before them where they are later ones."""
    epoch, members = certificate["epoch"], [_digest(member) for member in certificate["members"]]
    if certificate["appNdx"] != app:
        raise NotProved(f"a certificate of application {certificate['appNdx']} proves nothing about {app}")
    if epoch < known_epoch or (epoch == known_epoch and members != known):
        raise NotProved(f"the certificate names other members of epoch {epoch} than are known")
    if not members or len(set(members)) != len(members):
        raise NotProved("the certificate names no members, or one of them twice")
    statement = (
        b"synod/statement/v1\0"
        + cluster
        + app.to_bytes(4, "big")
        + _u64(epoch)
        + digest(b"synod/members/v1\0" + _u64(epoch) + b"".join(members))
        + _u64(certificate["slot"])
        + _u64(certificate["stateNdx"])
        + _digest(certificate["chain"])
        + _digest(certificate["root"])
    )
    signers: list[bytes] = []
    for signature in certificate["signatures"]:
        spki = bytes.fromhex(signature["key"])
        node = digest(spki)
        if node != _digest(signature["node"]):
            raise NotProved("the key of a signature is not that of the node")
        if signers and node <= signers[-1]:
            raise NotProved("a node signed twice, or its signature is not where it belongs")
        if node not in members and (epoch == known_epoch or node not in known):
            raise NotProved(f"node {node.hex()} signed, and was no member")
        if not _is_signed(spki, bytes.fromhex(signature["signature"]), statement + node):
            raise NotProved(f"node {node.hex()} did not sign this")
        signers.append(node)
    if not _is_majority(members, signers):
        raise NotProved(f"too few of the {len(members)} members of epoch {epoch} signed")
    if epoch > known_epoch and not _is_majority(known, signers):
        raise NotProved(
            f"too few of the {len(known)} members of epoch {known_epoch} signed who comes behind them"
        )
    return tuple(signers)


def _is_majority(members: list[bytes], signers: list[bytes]) -> bool:
    return 2 * sum(member in signers for member in members) > len(members)


def _is_signed(spki: bytes, signature: bytes, statement: bytes) -> bool:
    """Ed25519 over the SHA3-256 digest, or RSASSA-PKCS1-v1_5 with SHA3-256, as for a command."""
    try:
        key = serialization.load_der_public_key(spki)
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, digest(statement))
        elif isinstance(key, RSAPublicKey):
            key.verify(signature, statement, padding.PKCS1v15(), hashes.SHA3_256())
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _bytes_of(form: dict[str, Any], name: str) -> bytes:
    """As `entries.bytes_of`, of what is written in the one form in which a node writes it."""
    text, encoded = form.get(name), form.get(f"{name}Base64")
    if (text is None) == (encoded is None):
        raise NotProved(f"{name} is to come in one form")
    if text is not None:
        return bytes(text.encode())
    decoded = base64.b64decode(encoded or "", validate=True)
    if base64.b64encode(decoded).decode() != encoded:
        raise NotProved(f"{name} is not written as a node writes it")
    return decoded


def _digest(text: str) -> bytes:
    value = bytes.fromhex(text)
    if len(value) != 32 or value.hex() != text:
        raise NotProved(f"{text!r} is no digest: 64 lower-case hex digits are expected")
    return value


def _u64(number: int) -> bytes:
    return number.to_bytes(8, "big")
