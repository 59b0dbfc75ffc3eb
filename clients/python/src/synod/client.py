"""A commander's way into a cluster, and a reader's."""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import httpx

from synod import operations as ops
from synod import replies
from synod.command import SignedCommand
from synod.entries import Entry, bytes_of
from synod.errors import (
    BadStateVector,
    NotFound,
    OutcomeUnknown,
    Problem,
    SeqTaken,
    Unreachable,
    reading,
    refusal,
)
from synod.keys import Key, digest
from synod.nodes import Node, Nodes
from synod.operations import Change, Condition, Text, as_bytes
from synod.proofs import Proved, verify
from synod.receipt import Done, Receipt
from synod.state_vector import StateVector
from synod.watch import Watch

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: `local`: the node's own state, at once. `linearizable`: everything that was executed anywhere before is in it.
Consistency = Literal["local", "linearizable"]
R = TypeVar("R", bound=replies.Reply)

#: Seconds to open a connection, and for one node's answer; then the same bytes go to another node, which is safe.
_CONNECT = 2.0
_ATTEMPT = 10.0
#: Seconds that a node waits for a state, but no more than half of what is left: so it can still say that it is behind.
_WAIT = 5.0
#: How often an operation is signed anew because its seq was taken.
_SEQ_TRIES = 8
#: Refusals after which the same bytes may succeed, here or elsewhere.
_TRANSIENT = {"busy", "no-leader", "timeout", "stopping", "no-space", "slow-request"}
#: Those of them after which the command may still be executed.
_IN_DOUBT = {"timeout", "stopping"}
#: Refusals that prove that no earlier attempt executed the same bytes.
_LAST_WORD = {"bad-signature", "malformed", "too-large", "wrong-cluster", "seq-reused"}
#: Nothing was sent.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Client:
    """Commands one application, and reads it. May be used by many threads.

    `nodes`: where they listen. `ca`: the certificate of the cluster's authority. `cluster`: its id, SHA3-256 of the genesis
    document. `app`: the application's number. `timeout`: seconds for a call with all its attempts. `genesis`: the document
    itself, for `get_proved`. `seen`: what was seen before, by other clients as well; one of its own, if none is given.

    Reads are from no state before what was seen, of this application or another one: who has seen one application in some state
    is told nothing of another one from before that. So a read waits for a node that is behind with an application that it is not
    about. With `causal=False` it does not, and only this application counts.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        ca: str | PathLike[str],
        cluster: bytes,
        key: Key,
        app: int = 1,
        *,
        timeout: float = 30.0,
        genesis: bytes | None = None,
        seen: StateVector | None = None,
        causal: bool = True,
    ) -> None:
        self.key = key
        self.genesis = genesis
        self.cluster = cluster
        self.app = app
        self.timeout = timeout
        #: What was seen of every application. Reads do not go back behind it. Give it, or a token of it, to other clients.
        self.seen = StateVector() if seen is None else seen
        self.causal = causal
        self._nodes = Nodes(nodes)
        tls = ssl.create_default_context(cafile=str(ca))
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self._http = httpx.Client(verify=tls, trust_env=False)
        self._seq: int | None = None
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        app: str = "kv",
        *,
        key: Key | None = None,
        timeout: float = 30.0,
        seen: StateVector | None = None,
        causal: bool = True,
    ) -> Client:
        """A client by the file that `synod init` writes (`client.toml`), for the application of that name."""
        path = Path(path)
        file = tomllib.loads(path.read_text())
        genesis = (path.parent / file["genesis"]).read_bytes()
        numbers = {one["name"]: one["ndx"] for one in json.loads(genesis)["apps"]}
        if app not in numbers:
            raise ValueError(f"the cluster has no application {app!r}; it has {', '.join(sorted(numbers))}")
        nodes = [Node(node["backend"], node["http"]) for node in file["nodes"]]
        key = key or Key.load(path.parent / file["key"])
        return cls(
            nodes,
            path.parent / file["ca"],
            digest(genesis),
            key,
            numbers[app],
            timeout=timeout,
            genesis=genesis,
            seen=seen,
            causal=causal,
        )

    def close(self) -> None:
        """Closes every connection."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Commands.

    def put(self, key: Text, value: Text, *, lease: int | None = None) -> Done[replies.Written]:
        """Sets a key."""
        return self._do(ops.Put(key, value, lease), replies.Written)

    def delete(self, key: Text) -> Done[replies.Deleted]:
        """Removes a key, if it is there."""
        return self._do(ops.Delete(key), replies.Deleted)

    def delete_prefix(self, prefix: Text) -> Done[replies.DeletedMany]:
        """Removes every key that begins so."""
        return self._do(ops.DeletePrefix(prefix), replies.DeletedMany)

    def compare_and_set(self, key: Text, expected: int | None, value: Text) -> Done[replies.Written]:
        """Sets a key if `expected` is the stateNdx that last changed it (`None`: if it does not exist); else `Conflict`."""
        return self._do(ops.CompareAndSet(key, expected, value), replies.Written)

    def add(self, key: Text, delta: int) -> Done[replies.Counted]:
        """Adds to a counter."""
        return self._do(ops.Add(key, delta), replies.Counted)

    def txn(
        self, compare: Sequence[Condition], then: Sequence[Change], otherwise: Sequence[Change] = ()
    ) -> Done[replies.TxnDone]:
        """Makes one of two lists of changes, as a whole, in one state."""
        return self._do(ops.Txn(compare, then, otherwise), replies.TxnDone)

    def grant_lease(self, ttl_ms: int) -> Done[replies.Leased]:
        """Grants a lease, whose name is the `state_ndx` of what this returns."""
        return self._do(ops.GrantLease(ttl_ms), replies.Leased)

    def keep_alive(self, *leases: int) -> Done[replies.KeptAlive]:
        """Lets leases last their whole time again."""
        return self._do(ops.KeepAlive(leases), replies.KeptAlive)

    def revoke_lease(self, lease: int) -> Done[replies.DeletedMany]:
        """Ends a lease, and every key that is bound to it."""
        return self._do(ops.RevokeLease(lease), replies.DeletedMany)

    def compact(self, through: int) -> Done[replies.Compacted]:
        """Forgets what was before a state."""
        return self._do(ops.Compact(through), replies.Compacted)

    def _do(self, operation: ops.Operation, wanted: type[R]) -> Done[R]:
        receipt = self.execute(operation.operation())
        reply = replies.decode(receipt.answer)
        if not isinstance(reply, wanted):
            raise TypeError(f"the application answered {reply}, which belongs to another operation")
        return Done(reply, receipt)

    def execute(
        self, operation: bytes, *, not_after_ms: int | None = None, expected: int | None = None
    ) -> Receipt:
        """Signs an operation under a seq of its own, and submits it. Other clients of the same commander are borne: where they
        took a seq, the next one is tried.

        Raises `Refused` and its kinds, `Unreachable`, and `OutcomeUnknown`, which carries the command to submit again.
        """
        tries = 1
        while True:
            seq = self.next_seq()
            command = self.sign(operation, seq, not_after_ms=not_after_ms, expected=expected)
            try:
                return self.submit(command)
            except SeqTaken:
                # It was not executed, so another command may take its place.
                if tries == _SEQ_TRIES:
                    raise
                tries += 1
                self._learn_seq(behind=seq)

    def sign(
        self, operation: bytes, seq: int, *, not_after_ms: int | None = None, expected: int | None = None
    ) -> SignedCommand:
        """Signs an operation for this application."""
        return SignedCommand.sign(
            self.key, self.cluster, self.app, seq, operation, not_after_ms=not_after_ms, expected=expected
        )

    def submit(self, command: SignedCommand) -> Receipt:
        """Submits a command until its receipt comes, it is refused for good, or the time is over: the same bytes, as often as
        needed, to any node. They are executed once at most, and a repeat gets the receipt of the first."""
        in_doubt = False
        refused: Problem | None = None
        why = "no time was left"
        for node, left in self._nodes.attempts(self.timeout):
            try:
                response = self._http.post(
                    f"https://{node.commanders}/v1/commands",
                    json=command.to_json(),
                    timeout=httpx.Timeout(min(_ATTEMPT, left), connect=min(_CONNECT, left)),
                )
                answer = _json(response)
            except _NOT_SENT as error:
                refused, why = None, f"{node.commanders}: {error}"
                continue
            except httpx.TransportError as error:
                in_doubt, refused, why = True, None, f"{node.commanders}: {error}"
                continue
            if response.status_code == 200:
                self._nodes.prefer(node)
                receipt = Receipt.from_json(answer)
                self.seen.see(self.app, receipt.state_ndx)
                return receipt
            refused = refusal(answer, _state_ndx(response))
            why = str(refused)
            if refused.receipt is not None:
                self.seen.see(self.app, refused.receipt["stateNdx"])
                raise refused
            if refused.code in _TRANSIENT:
                in_doubt = in_doubt or refused.code in _IN_DOUBT
                continue
            if in_doubt and refused.code not in _LAST_WORD:
                raise OutcomeUnknown(command, f"an earlier attempt is in doubt, and now: {refused}")
            raise refused
        if in_doubt:
            raise OutcomeUnknown(command, why)
        raise refused or Unreachable(f"no node took the command, so it was not executed: {why}")

    def next_seq(self) -> int:
        """A seq that this client has not used: for `sign`."""
        with self._lock:
            if self._seq is not None:
                self._seq += 1
                return self._seq
        self._learn_seq(behind=0)
        return self.next_seq()

    def _learn_seq(self, behind: int) -> None:
        """Asks for the lowest seq above every executed one; `behind` is known to be taken."""
        why = "no time was left"
        for node, left in self._nodes.attempts(self.timeout):
            try:
                response = self._http.get(
                    f"https://{node.commanders}/v1/seq/{self.app}/{self.key.id.hex()}",
                    timeout=httpx.Timeout(min(_ATTEMPT, left), connect=min(_CONNECT, left)),
                )
                answer = _json(response)
            except httpx.TransportError as error:
                why = f"{node.commanders}: {error}"
                continue
            if response.status_code == 200:
                with self._lock:
                    self._seq = max(self._seq or 0, answer["seq"] - 1, behind)
                return
            refused = refusal(answer)
            if refused.code not in _TRANSIENT:
                raise refused
            why = str(refused)
        raise Unreachable(f"the commander's next seq cannot be learned: {why}")

    # Reads.

    def get(
        self,
        key: Text,
        *,
        at: int | None = None,
        min: int | None = None,
        consistency: Consistency = "local",
    ) -> Entry | None:
        """What a key holds; `None`: there is no such key.

        `at`: in that earlier state. `min`: in that state or a later one, which is waited for; without it, in none before what
        this client has seen.

        Raises `Behind` where no node comes to such a state in time.
        """
        params = self._freshness(min, consistency)
        if at is not None:
            params["at"] = str(at)
        try:
            response = self._read(self._path(f"/kv/{_segment(as_bytes(key))}"), params, fresh=True)
        except NotFound as problem:
            if problem.code != "no-such-key":
                raise
            return None
        changed, state_ndx = int(response.headers["last-change"]), _state_ndx(response)
        return Entry(as_bytes(key), response.content, changed, state_ndx or 0)

    def get_proved(self, key: Text, *, min: int | None = None) -> Proved:
        """What a key holds, or that there is no such key, proved from the genesis document on: no node has to be trusted.

        It is proved of the newest state that enough members have signed, which may be a second old, and may be before what this
        client has seen. `min`: the least state that will do; it is not waited for.

        Raises `NotProved` with the reason; nothing of the answer may be believed then.
        """
        if self.genesis is None:
            raise ValueError(
                "what is proved is proved from the genesis document on: the client was made without it"
            )
        params = {"proof": "1"} if min is None else {"proof": "1", "min": str(min)}
        response = self._read(self._path(f"/kv/{_segment(as_bytes(key))}"), params)
        return verify(_json(response), self.genesis, self.app, as_bytes(key), min=min)

    def entries(
        self,
        prefix: Text = b"",
        *,
        at: int | None = None,
        min: int | None = None,
        consistency: Consistency = "local",
    ) -> Iterator[Entry]:
        """Every key that begins so, in their order, page by page. With `at` all pages are of that state; without, a page may be
        of a later state than the one before. Raises `Behind` as `get` does."""
        params = self._freshness(min, consistency)
        if at is not None:
            params["at"] = str(at)
        path: str | None = _with_query(
            f"{self._path('/kv')}?prefix={quote(as_bytes(prefix), safe='')}", params
        )
        while path is not None:
            page = self._read(path, {}, fresh=True).json()
            for entry in page["entries"]:
                yield Entry(
                    bytes_of(entry, "key"), bytes_of(entry, "value"), entry["changed"], page["stateNdx"]
                )
            path = page["next"]

    def watch(
        self, *, prefix: Text | None = None, key: Text | None = None, after: int | None = None
    ) -> Watch:
        """Follows what changes, of one key or of those that begin so, from behind the state `after`, or from now on.

        What it gives was seen, of this application alone: a change does not say how far the others were.
        """
        if key is not None and prefix is not None:
            raise ValueError("watch a key or a prefix")
        name, text = ("key", key) if key is not None else ("prefix", prefix or b"")
        path = self._path(f"/watch?{name}={quote(as_bytes(text), safe='')}")
        return Watch(self, path, after)

    def await_everywhere(self, state_ndx: int, *, wait: float = 30.0) -> bool:
        """Waits until every node has applied a state; whether they have."""
        path = f"/v1/changes/{self.app}/{state_ndx}"
        return bool(self._read(path, {"wait": f"{wait:g}"}, wait=wait).json()["everywhere"])

    def _path(self, rest: str) -> str:
        return f"/v1/apps/{self.app}{rest}"

    def _freshness(self, min: int | None, consistency: Consistency) -> dict[str, str]:
        params: dict[str, str] = {} if consistency == "local" else {"consistency": consistency}
        if least := self.seen[self.app] if min is None else min:
            params["min"] = str(least)
        return params

    def _read(
        self, path: str, params: dict[str, str], *, wait: float = 0.0, fresh: bool = False
    ) -> httpx.Response:
        """Reads from the first node that answers. `wait`: seconds that a node may take, beside those of the client. `fresh`: from
        nothing before what was seen, for which a node waits that is behind."""
        problem: Problem | None = None
        why = "no time was left"
        for node, left in self._nodes.attempts(self.timeout + wait):
            query, headers = params, {}
            if fresh:
                query = {**params, "wait": f"{min(_WAIT, left / 2):.3f}"}
                headers = self._vector()
            try:
                response = self._http.get(
                    f"http://{node.readers}{_with_query(path, query)}",
                    headers=headers,
                    timeout=httpx.Timeout(min(wait + _ATTEMPT, left), connect=min(_CONNECT, left)),
                )
                if response.status_code == 200:
                    self._saw(response)
                    self._nodes.prefer(node)
                    return response
                problem = reading(_json(response), _state_ndx(response))
                if problem.status not in (503, 504):
                    # That there is no such key was seen, too.
                    self._saw(response)
                    raise problem
            except httpx.TransportError as error:
                why = f"{node.readers}: {error}"
        # What a node said tells more than that others say nothing.
        raise problem or Unreachable(f"no node answers: {why}")

    def _vector(self) -> dict[str, str]:
        """What says that an answer is to be from nothing before what was seen."""
        return {"state-vector": str(self.seen)} if self.causal else {}

    def _saw(self, answer: httpx.Response) -> None:
        """Notes what an answer shows."""
        self.seen.see(self.app, _state_ndx(answer) or 0)
        try:
            self.seen.join(answer.headers.get("state-vector", ""))
        except BadStateVector as error:
            raise httpx.RemoteProtocolError(str(error)) from error


def _with_query(path: str, params: dict[str, str]) -> str:
    """A path with further parameters, of ASCII alone."""
    query = "&".join(f"{name}={value}" for name, value in params.items())
    return path if not query else f"{path}{'&' if '?' in path else '?'}{query}"


def _segment(key: bytes) -> str:
    """A key as one segment of a path, also where it is a dot."""
    return quote(key, safe="").replace(".", "%2E")


def _json(response: httpx.Response) -> dict[str, Any]:
    """The body of an answer; what is none of a node's counts as a lost answer."""
    try:
        body = response.json()
    except ValueError as error:
        raise httpx.RemoteProtocolError(f"HTTP {response.status_code} without JSON") from error
    if not isinstance(body, dict):
        raise httpx.RemoteProtocolError(f"HTTP {response.status_code} with JSON of another kind")
    return body


def _state_ndx(response: httpx.Response) -> int | None:
    """The header of an answer that concerns one application."""
    text = response.headers.get("state-ndx", "")
    return int(text) if text.isdigit() else None
