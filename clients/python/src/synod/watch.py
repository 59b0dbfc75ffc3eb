"""Following what changes: server-sent events, resumed at another node where one is lost."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx

from synod.entries import StateChanges
from synod.errors import Forgotten, Unreachable, reading
from synod.nodes import Node

if TYPE_CHECKING:
    from synod.client import Client

#: Seconds without a byte after which a node is given up: it says each 15 s how far it is.
_SILENCE = 40.0


class Watch:
    """An iterator over what changes, without an end: each state once, in order, whatever node is lost.

    Raises `Forgotten` where the history does not go back so far: read the present state, and watch from there.
    """

    def __init__(self, client: Client, path: str, after: int | None) -> None:
        #: Everything up to this stateNdx was given out: `after` of a watch that goes on where this one is left.
        self.through = after
        self._client, self._app, self._path = client, client.app, path
        self._changes = self._follow()

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> StateChanges:
        return next(self._changes)

    def close(self) -> None:
        """Leaves the node."""
        self._changes.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _follow(self) -> Generator[StateChanges, None, None]:
        while True:
            why = "no time was left"
            for node, _ in self._client._nodes.attempts(self._client.timeout):
                was_through = self.through
                try:
                    yield from self._at(node)
                    why = "the stream ended"
                except httpx.TransportError as error:
                    why = f"{node.readers}: {error}"
                if self.through != was_through:
                    break
            else:
                raise Unreachable(f"no node goes on telling what changes: {why}")

    def _at(self, node: Node) -> Iterator[StateChanges]:
        """What one node tells, as long as it does."""
        after = "" if self.through is None else f"&after={self.through}"
        request = self._client._http.stream(
            "GET",
            f"http://{node.readers}{self._path}{after}",
            headers={"accept": "text/event-stream", **self._client._vector()},
            timeout=httpx.Timeout(_SILENCE, connect=2.0),
        )
        with request as response:
            if response.status_code != 200:
                response.read()
                problem = reading(response.json())
                if problem.status in (503, 504):
                    # It stops, or has not come so far: another one goes on.
                    return
                raise problem
            self._client._saw(response)
            self._client._nodes.prefer(node)
            for event, data in _events(response):
                if event == "change":
                    changes = StateChanges.from_json(data)
                    self._goes_on(changes.state_ndx)
                    yield changes
                elif event == "bookmark":
                    self._goes_on(data["stateNdx"])
                elif event == "end":
                    problem = reading(data)
                    if isinstance(problem, Forgotten):
                        raise problem
                    # The node stops, or we were too slow: go on where we are.
                    return

    def _goes_on(self, through: int) -> None:
        self.through = through
        self._client.seen.see(self._app, through)


def _events(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Events as they come; what is cut off in the middle is none."""
    rest = b""
    event, data = "", b""
    for part in response.iter_bytes():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            name, _, value = line.rstrip(b"\r").partition(b":")
            value = value.removeprefix(b" ")
            if name == b"event":
                event = value.decode()
            elif name == b"data":
                data += value
            elif not line.strip():
                if data:
                    yield event, json.loads(data)
                event, data = "", b""
