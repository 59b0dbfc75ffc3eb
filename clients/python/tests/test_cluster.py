"""The client against three real nodes."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Cluster

from synod import (
    Client,
    CompareAndSet,
    Conflict,
    Expired,
    Key,
    Node,
    NotACommand,
    NotFound,
    NotPermitted,
    NotProved,
    OutcomeUnknown,
    Put,
    Receipt,
    SeqTaken,
    SignedCommand,
    StateMismatch,
    Unreachable,
)
from synod.replies import Written


def test_what_is_written_is_read_at_every_node(cluster: Cluster, client: Client) -> None:
    done = client.put("written", "here")
    assert done.reply == Written(previous=None)
    for _ in range(3):
        entry = client.get("written", min=done.state_ndx)
        assert entry is not None and (entry.value, entry.changed) == (b"here", done.state_ndx)
        client._nodes._first += 1
    assert client.await_everywhere(done.state_ndx)
    again = client.put("written", "again")
    assert again.reply == Written(previous=done.state_ndx)
    assert client.delete("written").reply.existed
    assert not client.delete("written").reply.existed
    assert client.get("written", consistency="linearizable") is None


def test_what_is_written_is_proved_and_so_is_what_is_not(client: Client) -> None:
    done = client.put("proved/a", b"\xff\0")
    limit = time.monotonic() + 60
    while True:
        try:
            proved = client.get_proved("proved/a", min=done.state_ndx)
            break
        except NotFound as problem:
            # Enough nodes have to sign that state first.
            if problem.code != "no-such-certificate" or time.monotonic() > limit:
                raise
    assert (proved.value, proved.changed) == (b"\xff\0", done.state_ndx)
    assert proved.state_ndx >= done.state_ndx and len(proved.signers) >= 2
    assert client.get_proved("proved/b", min=done.state_ndx).value is None
    client.genesis = (client.genesis or b"") + b"\n"
    with pytest.raises(NotProved, match="another cluster"):
        client.get_proved("proved/a")


@pytest.mark.parametrize("key", ["plain", "a/b?c#d%e f+g", ".", "..", "ü", b"\xff\x00/\n", "x" * 4096])
def test_any_key_and_value_come_back(client: Client, key: str | bytes) -> None:
    value = bytes(range(256))
    client.put(key, value)
    entry = client.get(key)
    assert entry is not None and entry.value == value
    as_bytes = key.encode() if isinstance(key, str) else key
    found = [entry.value for entry in client.entries(key) if entry.key == as_bytes]
    assert found == [value]


def test_entries_come_page_by_page_in_order(client: Client) -> None:
    names = [f"page/{n:03}".encode() for n in range(250)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: client.put(name, name), names))
    found = list(client.entries("page/"))
    assert [entry.key for entry in found] == names
    assert all(entry.key == entry.value for entry in found)


def test_a_condition_that_does_not_hold_is_a_conflict_with_a_receipt(client: Client) -> None:
    done = client.compare_and_set("cas", None, "1")
    with pytest.raises(Conflict) as caught:
        client.compare_and_set("cas", None, "2")
    assert caught.value.code == "conflict" and caught.value.receipt is not None
    assert caught.value.receipt["stateNdx"] > done.state_ndx
    client.compare_and_set("cas", done.state_ndx, "2")


def test_what_a_command_asks_for_beside_its_operation(client: Client) -> None:
    operation = Put("options", "x").operation()
    state_ndx = client.execute(operation).state_ndx
    with pytest.raises(StateMismatch):
        client.execute(operation, expected=state_ndx + 1000)
    with pytest.raises(Expired) as caught:
        client.execute(operation, not_after_ms=1)
    assert caught.value.receipt is None, "it left no trace"


def test_who_may_not_is_refused(cluster: Cluster) -> None:
    with (
        Client.load(cluster.client_file, key=Key.generate()) as stranger,
        pytest.raises(NotPermitted) as caught,
    ):
        stranger.put("k", "v")
    assert caught.value.code == "unknown-commander"
    with Client.load(cluster.client_file) as client:
        with pytest.raises(NotACommand) as wrong:
            client.execute(b"\0\xff")
        assert wrong.value.code == "malformed"
        client.app = 9
        with pytest.raises(NotACommand) as unknown:
            client.execute(b"\0")
        assert unknown.value.code == "unknown-app"
        with pytest.raises(NotFound):
            client.get("k")
    with pytest.raises(ValueError, match="no application 'x'; it has kv, notes, zones"):
        Client.load(cluster.client_file, "x")


def test_a_repeat_gets_the_receipt_of_the_first(cluster: Cluster, client: Client) -> None:
    command = client.sign(Put("repeat", "once").operation(), client.next_seq())
    first = client.submit(command)
    kept = SignedCommand.from_bytes(command.to_bytes())
    for _ in range(6):
        client._nodes._first += 1
        assert client.submit(kept) == first
    entry = client.get("repeat")
    assert entry is not None and entry.changed == first.state_ndx
    other = client.sign(Put("repeat", "another").operation(), command.seq)
    with pytest.raises(SeqTaken) as caught:
        client.submit(other)
    assert caught.value.code == "seq-reused"


def test_a_command_that_was_not_waited_for_is_asked_for_at_another_node(client: Client) -> None:
    one, other, _ = client._nodes._nodes
    command = client.sign(Put("later", "x").operation(), client.next_seq())
    path = f"/v1/commands/{client.app}/{client.key.id.hex()}/{command.seq}/{command.id.hex()}"
    posted = client._http.post(
        f"https://{one.commanders}/v1/commands", json=command.to_json(), headers={"prefer": "respond-async"}
    )
    assert posted.status_code in (200, 202)
    assert posted.headers["preference-applied"] == "respond-async"
    assert posted.headers.get("location", path) == path
    wait = {"prefer": "wait=30"}
    found = client._http.get(f"https://{other.commanders}{path}", headers=wait, timeout=60)
    assert (found.status_code, found.headers["preference-applied"]) == (200, "wait=30")
    receipt = Receipt.from_json(found.json())
    assert receipt == client.submit(command)

    never = path.replace(f"/{command.seq}/", f"/{command.seq + 100}/")
    unknown = client._http.get(f"https://{other.commanders}{never}")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/unknown-command")

    # Both ports say alike how far a change has come.
    path = f"/v1/changes/{client.app}/{receipt.state_ndx}"
    commanders = client._http.get(f"https://{one.commanders}{path}", headers=wait, timeout=60).json()
    readers = client._http.get(f"http://{one.readers}{path}", params={"wait": "30"}, timeout=60).json()
    assert commanders == readers
    assert commanders["everywhere"]


def test_clients_of_one_commander_get_out_of_each_others_way(cluster: Cluster) -> None:
    with Client.load(cluster.client_file) as one, Client.load(cluster.client_file) as other:
        for n in range(10):
            one.put("both", f"one {n}")
            other.put("both", f"other {n}")


def test_nobody_there_is_told_apart_from_nothing_known(cluster: Cluster, client: Client) -> None:
    nodes = [Node("127.0.0.1:1", "127.0.0.1:1")]
    with Client(nodes, cluster.directory / "ca.pem", client.cluster, client.key, timeout=0.2) as gone:
        with pytest.raises(Unreachable):
            gone.submit(gone.sign(Put("nobody", "x").operation(), 1 << 40))
        with pytest.raises(Unreachable):
            gone.get("nobody")


def test_a_certificate_of_another_authority_is_not_trusted(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Cluster(tmp_path_factory.mktemp("other") / "cluster")
    with Client.load(cluster.client_file) as client:
        nodes = client._nodes._nodes
        stranger = Client(nodes, other.directory / "ca.pem", client.cluster, client.key, timeout=0.5)
        with stranger, pytest.raises(Unreachable, match=r"(?i)certificate"):
            stranger.put("k", "v")


def test_writes_go_on_while_nodes_are_killed(cluster: Cluster, client: Client) -> None:
    """Each of many threads counts up a key of its own by compare-and-set. A command that was executed twice, or lost after
    it was acknowledged, would be a Conflict."""
    threads, kills = 6, 6
    stop = threading.Event()
    progress = threading.Semaphore(0)

    def count(number: int) -> int:
        key, changed, counted = f"count/{number}", None, 0
        while not stop.is_set():
            counted += 1
            operation = CompareAndSet(key, changed, str(counted)).operation()
            changed = _submit(client, client.sign(operation, client.next_seq()))
            progress.release()
        return counted

    with ThreadPoolExecutor(threads) as pool:
        counting = [pool.submit(count, number) for number in range(threads)]
        try:
            for n in range(kills):
                for _ in range(5 * threads):
                    assert progress.acquire(timeout=60), "the writers go on"
                victim = cluster.leader(client) if n % 2 == 0 else n % 3
                cluster.kill(victim)
                for _ in range(2 * threads):
                    assert progress.acquire(timeout=60), "the writers go on without a node"
                cluster.start(victim)
        finally:
            stop.set()
        counts = [future.result() for future in counting]

    for number, counted in enumerate(counts):
        entry = client.get(f"count/{number}", consistency="linearizable")
        assert entry is not None and int(entry.value) == counted


def _submit(client: Client, command: SignedCommand) -> int:
    """Submits until it is known what became of it."""
    while True:
        try:
            return client.submit(command).state_ndx
        except OutcomeUnknown as unknown:
            command = unknown.command
