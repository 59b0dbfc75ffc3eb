"""A front end against a node that says what docs/PROTOCOL.md has it say; tests/cluster has it against real ones."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from synod_sdk.front import Answered, Arrival, FrontEnd, Problem
from synod_sdk.lane import Frames, LaneError


class Node:
    """Answers questions by what it was given, and keeps them."""

    def __init__(self, path: Path, reception: Any, answers: list[Any]) -> None:
        self.asked: list[Any] = []
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen()

        def work() -> None:
            with listener, listener.accept()[0] as stream:
                frames = Frames(stream)
                self.asked.append(frames.receive())
                frames.send(reception)
                for answer in answers:
                    question = frames.receive()
                    self.asked.append(question["ask"])
                    frames.send({"id": question["id"], "tell": answer})

        self.thread = threading.Thread(target=work)
        self.thread.start()


WELCOME = {"welcome": {"version": 1, "cluster": "0b" * 32, "node": "node1"}}


def test_it_asks_and_is_told(tmp_path: Path) -> None:
    app = {"app": 3, "name": "visits", "kind": "visits", "stateNdx": 31, "leader": None}
    answers = [
        {"apps": [app]},
        {"answered": {"stateNdx": 31, "chain": "0a", "answer": b"6"}},
        {"state": {"stateNdx": 32, "chain": "0a"}},
        {"problem": {"code": "timeout", "text": "not there", "stateNdx": 31}},
        {"state": {"stateNdx": 33, "chain": "0a"}},
    ]
    path = tmp_path / "front.sock"
    node = Node(path, WELCOME, answers)
    with FrontEnd(str(path)) as front:
        assert (front.cluster, front.node) == ("0b" * 32, "node1")
        assert front.apps() == [app]
        assert front.query("visits", b"a", linearizable=True, min=31, wait_s=0.5) == Answered(31, "0a", b"6")
        assert front.wait("3", 32, 1) == 32
        with pytest.raises(Problem) as problem:
            front.query("visits", b"a")
        assert (problem.value.code, problem.value.state_ndx) == ("timeout", 31)
        following = front.follow("visits", 32)
        assert next(following) == 33
        node.thread.join(60)
        with pytest.raises(LaneError, match="closed"):
            next(following)
    assert node.asked[0]["versions"] == [1, 1]
    asked = {"app": "visits", "query": b"a", "linearizable": True, "min": 31, "waitMs": 500}
    assert node.asked[2] == {"query": asked}
    assert node.asked[5] == {"follow": {"app": "visits", "after": 32}}


def test_it_is_a_yard_and_asks_other_servers(tmp_path: Path) -> None:
    arrived = {"number": 5, "from": "node1/desk", "queue": "a4", "body": b"page", "wantsReply": True}
    yard = {"yard": "printer", "queues": None, "waiting": 2}
    answers: list[Any] = [
        {"yard": "opened"},
        {"yard": {"arrived": [arrived]}},
        {"yard": "sent"},
        {"yard": "taken"},
        {"yard": {"replied": b"done"}},
        {"answered": {"stateNdx": 31, "chain": "0a", "answer": b"6"}},
        {"yard": {"servers": [{"server": "node3", "isThere": True}]}},
        {"yard": {"yards": [yard]}},
        {"yard": {"yards": [yard]}},
        {"problem": {"code": "unknown-yard", "text": "no", "stateNdx": None}},
    ]
    path = tmp_path / "front.sock"
    node = Node(path, WELCOME, answers)
    with FrontEnd(str(path)) as front:
        front.open("printer", ["", "a4"])
        assert front.receive("a4", max=64, wait_s=30) == [Arrival(5, "node1/desk", "a4", b"page", True)]
        front.reply(5, b"done")
        front.send_to("node1/desk", b"out of paper", wait_s=0.5)
        assert front.request("node1/desk", b"more?") == b"done"
        assert front.request("node3/visits", b"a") == b"6"
        assert front.servers() == [{"server": "node3", "isThere": True}]
        assert front.yards() == [yard]
        front.server = "node3"
        assert front.yards() == [yard]
        with pytest.raises(Problem, match="unknown-yard"):
            front.send_to("node3/nobody", b"")
    node.thread.join(60)
    asked = node.asked[1:]
    assert asked[0] == {"yard": {"open": {"yard": "printer", "queues": ["", "a4"]}}}
    assert asked[1] == {"yard": {"receive": {"queue": "a4", "max": 64, "waitMs": 30000}}}
    assert asked[2] == {"yard": {"reply": {"number": 5, "body": b"done"}}}
    assert asked[3] == {"yard": {"send": {"to": "node1/desk", "body": b"out of paper", "waitMs": 500}}}
    assert asked[4] == {"yard": {"request": {"to": "node1/desk", "body": b"more?", "waitMs": 5000}}}
    assert asked[7] == {"yard": "list"}
    assert asked[8] == {"at": {"server": "node3", "ask": {"yard": "list"}}}


def test_who_is_refused_says_why(tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    node = Node(path, {"refused": "no"}, [])
    with pytest.raises(LaneError, match="refuses this process: no"):
        FrontEnd(str(path))
    node.thread.join(60)
