"""The worker's end, held against what docs/PROTOCOL.md says a node asks."""

from __future__ import annotations

import importlib.util
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from synod_sdk import App, Context, LaneError, Refused
from synod_sdk.lane import PIECE_BYTES, serve


def counters() -> type[App]:
    path = Path(__file__).parent.parent / "examples" / "counter.py"
    spec = importlib.util.spec_from_file_location("counter", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.Counters
    assert issubclass(found, App)
    return found


class Node:
    """The node's end of a lane."""

    def __init__(self, app: type[App]) -> None:
        self.stream, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.stream.settimeout(60)
        self.reader = self.stream.makefile("rb")
        self.ended: BaseException | None = None

        def work() -> None:
            with other:
                try:
                    serve(app, other)
                except BaseException as why:
                    self.ended = why

        self.thread = threading.Thread(target=work)
        self.thread.start()
        self.hello = self.receive()

    def send(self, message: Any) -> None:
        body = msgpack.packb(message)
        # In two parts, as a stream may be cut anywhere.
        frame = struct.pack(">I", len(body)) + body
        self.stream.sendall(frame[:3])
        self.stream.sendall(frame[3:])

    def receive(self) -> Any:
        (length,) = struct.unpack(">I", self.reader.read(4))
        return msgpack.unpackb(self.reader.read(length))

    def ask(self, question: Any) -> Any:
        self.send(question)
        return self.receive()

    def welcome(self) -> Node:
        self.send({"welcome": {"version": 1, "app": 3, "name": "counter"}})
        return self

    def close(self) -> BaseException | None:
        self.reader.close()
        self.stream.close()
        self.thread.join(60)
        return self.ended


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node(counters()).welcome()
    yield node
    node.close()


def apply(node: Node, *operations: bytes, first: int = 1) -> Any:
    commands = [
        {"stateNdx": state_ndx, "commander": "07" * 32, "operation": operation}
        for state_ndx, operation in enumerate(operations, first)
    ]
    return node.ask({"apply": {"time": 5, "clock": 6, "commands": commands}})


def test_it_says_who_it_is(node: Node) -> None:
    assert node.hello["versions"] == [1, 1]
    assert (node.hello["kind"], node.hello["checks"]) == ("counter", True)


def test_commands_queries_and_checks(node: Node) -> None:
    assert node.ask("reset") == "done"
    outcomes = apply(node, b"a", b"a +5", b"b -1", b"", b"b")["applied"]
    assert [outcome.get("done") or outcome["refused"]["code"] for outcome in outcomes] == [
        b"1",
        b"6",
        "conflict",
        "malformed",
        b"1",
    ]
    assert node.ask({"query": {"stateNdx": 5, "query": b"a"}}) == {"answered": b"6"}
    assert node.ask({"query": {"stateNdx": 5, "query": b"\xff"}}) == {"notAQuery": "a name is text"}
    assert node.ask({"check": {"operation": b"a 5"}})["refused"]["code"] == "malformed"
    assert node.ask({"check": {"operation": b"a +5"}}) == "done"
    assert len(node.ask("digest")["digest"]) == 32


def test_a_state_comes_and_goes_in_pieces(node: Node) -> None:
    names = [f"{n:01000}".encode() for n in range(3000)]
    apply(node, *names)
    assert node.ask("keep") == "done"
    apply(node, b"later", first=3001)
    state, number, last = b"", 0, False
    while not last:
        piece = node.ask({"piece": {"number": number}})["piece"]
        assert len(piece["bytes"]) <= PIECE_BYTES
        state, number, last = state + piece["bytes"], number + 1, piece["last"]
    assert number == 3 and state == b"".join(name + b" 1\n" for name in names)

    assert node.ask("reset") == "done"
    assert node.ask({"query": {"stateNdx": 0, "query": b"*"}}) == {"answered": b""}
    assert node.ask({"restore": {"bytes": state[:PIECE_BYTES], "last": False}}) == "done"
    assert node.ask({"restore": {"bytes": state[PIECE_BYTES:], "last": True}}) == "done"
    assert node.ask({"query": {"stateNdx": 3000, "query": b"*"}}) == {"answered": state}


def test_who_is_refused_says_why() -> None:
    node = Node(counters())
    node.send({"refused": "another process serves this application already"})
    node.thread.join(60)
    assert isinstance(node.ended, LaneError) and "another process" in str(node.ended)
    node.close()


class Broken(counters()):  # type: ignore[misc]
    def apply(self, context: Context, operation: bytes) -> bytes:
        raise KeyError(operation)


def test_an_application_that_raises_ends_and_says_so() -> None:
    node = Node(Broken).welcome()
    assert apply(node, b"a") == {"failed": "KeyError: b'a'"}
    node.thread.join(60)
    assert isinstance(node.ended, KeyError)
    node.close()


def test_a_refusal_is_within_limits() -> None:
    with pytest.raises(ValueError):
        Refused("no-leader", "that is for nodes to say")
    assert Refused("conflict", "ü" * 200).text == "ü" * 128
