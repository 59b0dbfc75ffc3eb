"""Answers with proofs, as a node gives them, and what becomes of them where something is changed."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from synod import NotProved
from synod.proofs import verify

TABLE = json.loads((Path(__file__).parent / "proofs.json").read_text())
GENESIS = TABLE["genesis"].encode()
ANSWERS = {row["key"]: row["answer"] for row in TABLE["answers"]}


@pytest.mark.parametrize("key", ANSWERS)
def test_what_was_committed_is_proved(key: str) -> None:
    proved = verify(ANSWERS[key], GENESIS, 1, key.encode())
    assert proved.state_ndx == 31
    assert len(proved.signers) == 2
    held = {"key 7": b"value 7", "key 0": b"value 0", "raw": b"\xff\0"}
    assert proved.value == held.get(key)


def leaves(form: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where everything is that is no list and no dictionary."""
    if isinstance(form, dict):
        return [leaf for name, part in form.items() for leaf in leaves(part, (*path, name))]
    if isinstance(form, list):
        return [leaf for at, part in enumerate(form) for leaf in leaves(part, (*path, at))]
    return [path]


def changed(form: Any) -> list[Any]:
    if isinstance(form, bool) or form is None:
        return ["00" * 32]
    if isinstance(form, int):
        return [form + 1, -1, None, "x"]
    flipped = [chr(ord(form[at]) ^ 1) for at in range(len(form))]
    changes = [form[:at] + sign + form[at + 1 :] for at, sign in enumerate(flipped)]
    return [*changes[:4], *changes[-4:], form + "00", None, 7]


@pytest.mark.parametrize("key", ["key 7", "raw", "none"])
def test_whatever_is_changed_proves_nothing(key: str) -> None:
    count = 0
    for path in leaves(ANSWERS[key]):
        if path == ("appNdx",):
            continue  # It is what was asked for, and stands in the certificate again.
        *way, last = path
        part = ANSWERS[key]
        for name in way:
            part = part[name]
        for other in changed(part[last]):
            answer = copy.deepcopy(ANSWERS[key])
            part_of_copy = answer
            for name in way:
                part_of_copy = part_of_copy[name]
            part_of_copy[last] = other
            with pytest.raises(NotProved):
                verify(answer, GENESIS, 1, key.encode())
            count += 1
    assert count > 100


def test_of_another_key_application_cluster_or_time_nothing_is_proved() -> None:
    answer = ANSWERS["key 7"]
    for why, call in {
        "another key": lambda: verify(answer, GENESIS, 1, b"key 8"),
        "proves nothing about 2": lambda: verify(answer, GENESIS, 2, b"key 7"),
        "another cluster": lambda: verify(answer, GENESIS + b"\n", 1, b"key 7"),
        "an earlier one": lambda: verify(answer, GENESIS, 1, b"key 7", min=32),
    }.items():
        with pytest.raises(NotProved) as raised:
            call()
        assert why in str(raised.value) or why == "another key"
    absent = {**ANSWERS["none"], "entry": answer["entry"]}
    with pytest.raises(NotProved):
        verify(absent, GENESIS, 1, b"none")
    hidden = {**answer, "entry": None}
    with pytest.raises(NotProved, match="there is one"):
        verify(hidden, GENESIS, 1, b"key 7")


@pytest.mark.parametrize("nonsense", [{}, [], None, "x", {"certificate": {}}, {"certificate": None}])
def test_nonsense_is_not_proved(nonsense: Any) -> None:
    with pytest.raises(NotProved):
        verify(nonsense, GENESIS, 1, b"key 7")
