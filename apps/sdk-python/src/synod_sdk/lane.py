"""The worker's end of a lane: says who it is, and answers one question after the other. docs/PROTOCOL.md, "Lanes"."""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import Any, Final

import msgpack

from synod_sdk.app import App, Context, NotAQuery, Refused

SOCKET_VARIABLE: Final = "SYNOD_LANE"
"""Where the path of the node's socket is found, if it is not given."""

VERSION: Final = 1
FRAME_BYTES_MAX: Final = 8 << 20
PIECE_BYTES: Final = 1 << 20
ANSWER_BYTES_MAX: Final = 4 << 20
TRY_EVERY_S: Final = 0.05
LENGTH: Final = struct.Struct(">I")


class LaneError(Exception):
    """The node wants no such process, is not there, or said something that makes no sense."""


def run(app: type[App], path: str | None = None, patience_s: float = 30.0) -> None:
    """Serves an application until the node closes the connection. Whoever started this process starts it again.

    `path` is that of the node's socket; without it, the variable SYNOD_LANE says it. The socket is waited for: the node may not
    be there yet.
    """
    path = path or os.environ.get(SOCKET_VARIABLE)
    if not path:
        raise LaneError(f"give the path of the node's socket, or set {SOCKET_VARIABLE}")
    with connect(path, patience_s) as stream:
        serve(app, stream)


def serve(app: type[App], stream: socket.socket) -> None:
    """The same, on a connection."""
    lane = Frames(stream)
    lane.send(
        {
            "versions": [VERSION, VERSION],
            "kind": app.kind,
            "program": "synod-sdk (Python)",
            "checks": app.checks,
        }
    )
    reception = lane.receive()
    if reception is None or "welcome" not in reception:
        raise LaneError(f"the node refuses this process: {(reception or {}).get('refused', 'it is gone')}")
    worker = _Worker(app)
    while (question := lane.receive()) is not None:
        name, argument = _split(question)
        try:
            answer = worker.answer(name, argument)
        except BaseException as why:
            lane.send({"failed": f"{type(why).__name__}: {why}"[:1000]})
            raise
        lane.send(answer)


def connect(path: str, patience_s: float) -> socket.socket:
    until = time.monotonic() + patience_s
    while True:
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            stream.connect(path)
            return stream
        except OSError as why:
            stream.close()
            if time.monotonic() >= until:
                raise LaneError(f"cannot connect to {path}: {why}") from why
            time.sleep(TRY_EVERY_S)


def _split(question: Any) -> tuple[str, Any]:
    """A question is a map with one key, or a text where there is nothing more to it."""
    if isinstance(question, str):
        return question, None
    if isinstance(question, dict) and len(question) == 1:
        return next(iter(question.items()))
    raise LaneError(f"the node asks something that makes no sense: {question!r:.100}")


class Frames:
    """Frames: a length and a body."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def send(self, message: Any) -> None:
        body = msgpack.packb(message)
        if len(body) > FRAME_BYTES_MAX:
            raise LaneError(f"a frame of {len(body)} bytes; at most {FRAME_BYTES_MAX} are allowed")
        self._stream.sendall(LENGTH.pack(len(body)) + body)

    def receive(self) -> Any:
        """The next frame; `None`: the node closed the connection."""
        head = self._read(LENGTH.size)
        if head is None:
            return None
        (length,) = LENGTH.unpack(head)
        if length > FRAME_BYTES_MAX:
            raise LaneError(f"a frame of {length} bytes; at most {FRAME_BYTES_MAX} are allowed")
        body = self._read(length)
        return None if body is None else msgpack.unpackb(body)

    def _read(self, length: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < length:
            try:
                part = self._stream.recv(length - len(parts))
            except ConnectionResetError:
                return None
            if not part:
                return None
            parts += part
        return bytes(parts)


class _Worker:
    """An application, and what is under way of its states."""

    def __init__(self, kind: type[App]) -> None:
        self._new = kind
        self._app = kind()
        self._restoring = bytearray()
        self._kept: bytes | None = None

    def answer(self, question: str, argument: Any) -> Any:
        match question:
            case "reset":
                self._app, self._kept = self._new(), None
                self._restoring.clear()
                return "done"
            case "restore":
                self._restoring += argument["bytes"]
                if argument["last"]:
                    self._app.restore(bytes(self._restoring))
                    self._restoring.clear()
                return "done"
            case "apply":
                return {"applied": [self._apply(argument, command) for command in argument["commands"]]}
            case "check":
                try:
                    self._app.check(argument["operation"])
                except Refused as why:
                    return {"refused": {"code": why.code, "text": why.text}}
                return "done"
            case "query":
                try:
                    answer = self._app.query(argument["stateNdx"], argument["query"])
                except NotAQuery as why:
                    return {"notAQuery": str(why)}
                # Nobody is to end this process by a question.
                if len(answer) > ANSWER_BYTES_MAX:
                    return {
                        "notAQuery": f"its answer has {len(answer)} bytes; at most {ANSWER_BYTES_MAX} are allowed"
                    }
                return {"answered": answer}
            case "keep":
                self._kept = self._app.snapshot()
                return "done"
            case "piece":
                return self._piece(argument["number"])
            case "digest":
                return {"digest": self._app.digest()}
        raise LaneError(f"the node asks what this version does not know: {question!r}")

    def _apply(self, batch: Any, command: Any) -> Any:
        context = Context(command["stateNdx"], batch["time"], batch["clock"], command["commander"])
        try:
            return {"done": self._app.apply(context, command["operation"])}
        except Refused as why:
            return {"refused": {"code": why.code, "text": why.text}}

    def _piece(self, number: int) -> Any:
        if self._kept is None or number * PIECE_BYTES > len(self._kept):
            raise LaneError("the node asks for a piece of a state that is not kept")
        begin = number * PIECE_BYTES
        piece, last = self._kept[begin : begin + PIECE_BYTES], begin + PIECE_BYTES >= len(self._kept)
        if last:
            self._kept = None
        return {"piece": {"bytes": piece, "last": last}}
