"""A front end in a process of its own: asks a node, and never writes. docs/PROTOCOL.md, "Front ends in processes of their own".

It may be a yard as well, to which others send: "Messages between processes" there.

A `FrontEnd` has one question under way at a time; whoever wants more at a time opens several. When the node is gone, every call
says so, and a new one is opened when it is back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from synod_sdk.lane import VERSION, Frames, LaneError, connect


class Problem(Exception):
    """There is no answer. `code` is stable, and what a program looks at."""

    def __init__(self, code: str, text: str, state_ndx: int | None) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.state_ndx = state_ndx


@dataclass(frozen=True, slots=True)
class Answered:
    """An application's answer, and the state that it comes from."""

    state_ndx: int
    chain: str
    answer: bytes


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that was taken. `sender` is `server/yard`, or `server/` where that is no yard."""

    number: int
    sender: str
    queue: str
    body: bytes
    wants_reply: bool


class FrontEnd:
    """A connection to a node's socket for front ends, which is waited for."""

    def __init__(self, path: str, program: str = "synod-sdk (Python)", patience_s: float = 30.0) -> None:
        self._stream = connect(path, patience_s)
        self._frames = Frames(self._stream)
        self._last = 0
        self.server: str | None = None
        """Whose applications and yards are asked for, by the node's name; `None`: those of the one that this is connected to."""
        self._frames.send({"versions": [VERSION, VERSION], "program": program})
        reception = self._frames.receive()
        if reception is None or "welcome" not in reception:
            self._stream.close()
            raise LaneError(
                f"the node refuses this process: {(reception or {}).get('refused', 'it is gone')}"
            )
        self.cluster: str = reception["welcome"]["cluster"]
        self.node: str = reception["welcome"]["node"]

    def apps(self) -> list[dict[str, Any]]:
        """All applications."""
        apps: list[dict[str, Any]] = self._ask("apps")["apps"]
        return apps

    def query(
        self,
        app: str,
        query: bytes,
        *,
        linearizable: bool = False,
        min: int | None = None,
        wait_s: float | None = None,
    ) -> Answered:
        """Asks an application, by its number or name, in its own words."""
        wait = None if wait_s is None else int(wait_s * 1000)
        ask = {"app": app, "query": query, "linearizable": linearizable, "min": min, "waitMs": wait}
        told = self._ask({"query": ask})["answered"]
        return Answered(told["stateNdx"], told["chain"], told["answer"])

    def wait(self, app: str, state_ndx: int, wait_s: float) -> int:
        """Waits until the node has a state of an application; gives the one that it has then."""
        ask = {"app": app, "stateNdx": state_ndx, "waitMs": int(wait_s * 1000)}
        found: int = self._ask({"wait": ask})["state"]["stateNdx"]
        return found

    def follow(self, app: str, after: int) -> Iterator[int]:
        """The states of an application behind this one, each as soon as it is there; of several that come together, the last. The
        connection is for this alone then."""
        self._send({"follow": {"app": app, "after": after}})
        while True:
            yield self._told()["state"]["stateNdx"]

    def servers(self) -> list[dict[str, Any]]:
        """All nodes, and whether each is heard."""
        servers: list[dict[str, Any]] = self._ask_yard("servers")["servers"]
        return servers

    def yards(self) -> list[dict[str, Any]]:
        """All yards that are open at the node."""
        yards: list[dict[str, Any]] = self._ask({"yard": "list"})["yard"]["yards"]
        return yards

    def open(self, yard: str, queues: list[str] | None = None) -> None:
        """Makes this connection a yard, until it is closed, which takes these queues, or all."""
        self._ask_yard({"open": {"yard": yard, "queues": queues}})

    def receive(self, queue: str | None = None, *, max: int = 1, wait_s: float = 5.0) -> list[Arrival]:
        """Takes messages of this connection's yard, waiting for the first one; none, if none came in time."""
        ask = {"receive": {"queue": queue, "max": max, "waitMs": int(wait_s * 1000)}}
        return [
            Arrival(told["number"], told["from"], told["queue"], told["body"], told["wantsReply"])
            for told in self._ask_yard(ask)["arrived"]
        ]

    def send_to(self, to: str, body: bytes, wait_s: float = 5.0) -> None:
        """Sends a message to `server/yard/queue`, and waits until the process there has it. Where the problem's code is `lost` or
        `timeout`, nobody knows whether it has."""
        self._ask_yard({"send": {"to": to, "body": body, "waitMs": int(wait_s * 1000)}})

    def request(self, to: str, body: bytes, wait_s: float = 5.0) -> bytes:
        """Sends a message, and waits for the answer of the process there; or asks an application by its name."""
        self._send_here({"yard": {"request": {"to": to, "body": body, "waitMs": int(wait_s * 1000)}}})
        told = self._told()
        answer: bytes = told["answered"]["answer"] if "answered" in told else told["yard"]["replied"]
        return answer

    def reply(self, number: int, body: bytes) -> None:
        """Answers a message that was taken."""
        self._ask_yard({"reply": {"number": number, "body": body}})

    def close(self) -> None:
        """Ends the connection."""
        self._stream.close()

    def __enter__(self) -> FrontEnd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, ask: Any) -> Any:
        self._send(ask)
        return self._told()

    def _ask_yard(self, ask: Any) -> Any:
        self._send_here({"yard": ask})
        return self._told()["yard"]

    def _send(self, ask: Any) -> None:
        self._send_here(ask if self.server is None else {"at": {"server": self.server, "ask": ask}})

    def _send_here(self, ask: Any) -> None:
        self._last += 1
        self._frames.send({"id": self._last, "ask": ask})

    def _told(self) -> Any:
        told = self._frames.receive()
        if told is None:
            raise LaneError("the node closed the connection")
        if told["id"] != self._last:
            raise LaneError(f"the node answers question {told['id']}, and {self._last} was asked")
        if "problem" in told["tell"]:
            problem = told["tell"]["problem"]
            raise Problem(problem["code"], problem["text"], problem["stateNdx"])
        return told["tell"]
