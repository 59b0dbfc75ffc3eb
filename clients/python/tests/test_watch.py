"""Watches against real nodes: each state once and in order, whatever node is lost."""

from __future__ import annotations

import itertools
import threading

import pytest
from conftest import Cluster

from synod import Client, Delete, Forgotten, KeyChange, Put


def test_a_watch_tells_what_changed_since_a_state(client: Client) -> None:
    before = client.put("elsewhere", "x").state_ndx
    put = client.put("w/1", b"\xff").state_ndx
    client.put("elsewhere", "y")
    deleted = client.delete("w/1").state_ndx
    txn = client.txn([], [Put("w/2", "\u2028\n"), Delete("w/1"), Put("w/3", "")]).state_ndx
    with client.watch(prefix="w/", after=before) as watch:
        one, two, three = itertools.islice(watch, 3)
        assert watch.through == txn
    assert (one.state_ndx, one.changes) == (put, (KeyChange(b"w/1", b"\xff", None),))
    assert (two.state_ndx, two.changes) == (deleted, (KeyChange(b"w/1", None, "deleted"),))
    assert (three.state_ndx, [change.key for change in three.changes]) == (txn, [b"w/2", b"w/3"])
    assert three.changes[0].value == "\u2028\n".encode()
    assert one.time_ms <= two.time_ms <= three.time_ms
    with client.watch(key="w/3", after=before) as watch:
        assert next(watch).state_ndx == txn


def test_what_is_forgotten_is_said(client: Client) -> None:
    before = client.put("forgotten", "x").state_ndx
    oldest = client.compact(client.put("forgotten", "y").state_ndx).reply.oldest
    with client.watch(prefix="", after=before - 1) as watch, pytest.raises(Forgotten) as caught:
        next(watch)
    assert caught.value.oldest == oldest


def test_a_watch_goes_on_while_nodes_are_killed(cluster: Cluster, client: Client) -> None:
    after = client.put("k/begin", "x").state_ndx
    written: list[int] = []
    stop = threading.Event()

    def write() -> None:
        with Client.load(cluster.client_file, timeout=60) as writer:
            while not stop.is_set():
                written.append(writer.put(f"k/{len(written)}", "x").state_ndx)

    writing = threading.Thread(target=write)
    writing.start()
    seen: list[int] = []
    try:
        with (
            Client.load(cluster.client_file, timeout=60) as watcher,
            watcher.watch(prefix="k/", after=after) as watch,
        ):
            for _ in range(3):
                seen += [changes.state_ndx for changes in itertools.islice(watch, 20)]
                # The node that tells it.
                victim = watcher._nodes._first
                cluster.kill(victim)
                seen += [changes.state_ndx for changes in itertools.islice(watch, 20)]
                cluster.start(victim)
            stop.set()
            writing.join()
            while seen[-1] != written[-1]:
                seen.append(next(watch).state_ndx)
    finally:
        stop.set()
        writing.join()
    assert seen == written, "each once, and in order"
