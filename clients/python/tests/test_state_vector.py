"""What was seen of one application holds for reads of all, at every node and in every process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import Cluster

from synod import BadStateVector, Behind, Client, NotFound, StateVector, SynodError


@pytest.fixture
def notes(cluster: Cluster) -> Iterator[Client]:
    """Another application."""
    with Client.load(cluster.client_file, "notes") as notes:
        yield notes


def test_a_token_is_read_as_it_is_written() -> None:
    for token in ["", "1=7", "1=7, 2=5", "4294967295=18446744073709551615"]:
        assert str(StateVector(token)) == token
    assert str(StateVector(" 2=5,1=7 ")) == "1=7, 2=5"
    vector = StateVector("1=7, 2=5")
    assert (vector[1], vector[2], vector[3]) == (7, 5, 0)
    assert repr(vector) == "StateVector('1=7, 2=5')"


@pytest.mark.parametrize(
    "token",
    [
        "1",
        "1=",
        "=7",
        "1=7,",
        "1=7, 1=8",
        "a=7",
        "1=-7",
        "1=18446744073709551616",
        "4294967296=1",
        "*",
        "\u0661=7",
    ],
)
def test_what_is_no_token_is_an_error_of_its_own(token: str) -> None:
    with pytest.raises(BadStateVector, match="is no state vector") as caught:
        StateVector(token)
    assert isinstance(caught.value, SynodError) and isinstance(caught.value, ValueError)
    vector = StateVector("1=7")
    with pytest.raises(BadStateVector):
        vector.join(token)
    assert str(vector) == "1=7"


def test_the_later_states_count() -> None:
    vector = StateVector("1=7, 2=5")
    vector.join("2=6, 1=6, 3=1")
    assert str(vector) == "1=7, 2=6, 3=1"
    vector.join(StateVector("3=2"))
    vector.join(vector)
    assert str(vector) == "1=7, 2=6, 3=2"
    states = random.sample(range(1, 2001), 2000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda state: vector.see(4 + state % 2, state), states))
    assert (vector[4], vector[5]) == (2000, 1999)


def test_a_read_waits_for_what_was_seen_of_another_application(
    cluster: Cluster, client: Client, notes: Client
) -> None:
    client.put("waits", "x")
    next_state = notes.put("waits", "x").state_ndx + 1
    token = f"{notes.app}={next_state}"
    with Client.load(cluster.client_file, seen=StateVector(token), timeout=2) as reader:
        with pytest.raises(Behind) as caught:
            reader.get("waits")
        assert caught.value.code == "timeout"
        with pytest.raises(Behind):
            next(reader.entries("waits"))
        # Whoever does not want to wait for others is answered.
        with Client.load(cluster.client_file, seen=reader.seen, causal=False) as hasty:
            assert hasty.get("waits") is not None
        assert notes.put("waits", "y").state_ndx == next_state
        assert reader.get("waits") is not None
        assert [entry.value for entry in reader.entries("waits")] == [b"x"]


def test_every_answer_tells_how_far_all_applications_are(
    cluster: Cluster, client: Client, notes: Client
) -> None:
    noted = notes.put("tells", "x").state_ndx
    done = client.put("tells", "y")
    assert client.seen[client.app] == done.state_ndx
    with Client.load(cluster.client_file, seen=notes.seen) as reader:
        assert reader.seen[reader.app] == 0
        assert reader.get("tells", min=done.state_ndx) is not None
        assert reader.seen[reader.app] >= done.state_ndx and reader.seen[notes.app] >= noted
        assert notes.seen is reader.seen, "clients that share it see together"


def test_what_is_not_there_and_what_changes_was_seen_as_well(cluster: Cluster, client: Client) -> None:
    before = client.put("gone", "x").state_ndx
    gone = client.delete("gone").state_ndx
    with Client.load(cluster.client_file) as reader:
        assert reader.get("gone", min=gone) is None
        assert reader.seen[reader.app] >= gone
    with Client.load(cluster.client_file, causal=False) as reader:
        with reader.watch(key="gone", after=before) as watch:
            assert next(watch).state_ndx == gone
        assert reader.seen[reader.app] == gone


def test_no_node_goes_back_behind_a_token_of_another_process(
    cluster: Cluster, client: Client, notes: Client
) -> None:
    """A node that was away is asked at once for what was written while it was."""
    for n in range(3):
        cluster.kill(n)
        noted = notes.put("away", f"{n}")
        client.seen.join(str(notes.seen))
        token = str(client.seen)
        written = client.put("away", f"{n}")
        cluster.start(n)
        node = client._nodes._nodes[n]
        one = Client(
            [node], cluster.directory / "ca.pem", client.cluster, client.key, seen=StateVector(token)
        )
        with one:
            one.get("away")
            # It is not the application that was read, and the answer waited for it all the same.
            states = one._http.get(f"http://{node.readers}/v1/apps/notes").json()
        assert states["stateNdx"] >= noted.state_ndx
        one = Client([node], cluster.directory / "ca.pem", client.cluster, client.key, seen=client.seen)
        with one:
            entry = one.get("away")
        assert entry is not None and (entry.value, entry.changed) == (str(n).encode(), written.state_ndx)


def test_a_token_of_another_cluster_names_what_is_not_here(cluster: Cluster) -> None:
    with Client.load(cluster.client_file, seen=StateVector("9=1")) as reader:
        with pytest.raises(NotFound) as caught:
            reader.get("k")
        assert caught.value.code == "unknown-app"
