"""A cluster of three real nodes, as processes on loopback. They never outlive the tests."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from synod import Client

ROOT = Path(__file__).resolve().parents[3]
SYNOD = os.environ.get("SYNOD", str(ROOT / "target/debug/synod"))
#: A node's ports are its own for the other nodes, and 1000, 2000 and 3000 above it.
OFFSETS = (0, 1000, 2000, 3000)
#: How often a cluster is founded because another process took one of its ports in between.
FOUND_TRIES = 5


class PortTaken(Exception):
    """Another process was faster."""


def is_free(port: int) -> bool:
    """Whether nobody listens there, with TCP or UDP."""
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        try:
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_base_port(nodes: int) -> int:
    """Below the ports that Linux gives to clients, so that none of them takes a node's while it is down."""
    for _ in range(1000):
        base = random.randrange(12_000, 28_900)
        if all(is_free(base + offset + n) for offset in OFFSETS for n in range(nodes)):
            return base
    raise RuntimeError("there are no free ports")


class Cluster:
    """Nodes that run, and those that were killed."""

    def __init__(self, directory: Path, nodes: int = 3) -> None:
        self.directory = directory
        base = str(free_base_port(nodes))
        run = [SYNOD, "init", "--dir", str(directory), "--base-port", base, "--nodes", str(nodes)]
        run += ["--app", "1=kv:kv", "--app", "2=zones:zones", "--app", "3=notes:kv"]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
        self.processes: list[subprocess.Popen[str] | None] = [None] * nodes

    def start(self, *numbers: int) -> None:
        """Starts nodes, and waits until their ports are open."""
        for n in numbers:
            with self.log(n).open("a") as log:
                run = [SYNOD, "node", "--output", "json", "--until-stdin-closes"]
                run += ["--config", str(self.directory / f"node{n + 1}.toml")]
                self.processes[n] = subprocess.Popen(
                    run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
                )
        for n in numbers:
            process = self.processes[n]
            assert process is not None and process.stdout is not None
            line = process.stdout.readline()
            if '"ready":true' not in line:
                log = self.log(n).read_text()
                raise PortTaken(log) if "in use" in log else AssertionError(log)

    def kill(self, n: int) -> None:
        """As a crash ends it."""
        process = self.processes[n]
        assert process is not None and process.poll() is None, self.log(n).read_text()
        process.kill()
        self._gone(n)

    def stop(self) -> None:
        """Lets every node that runs stop in order."""
        running = [n for n, process in enumerate(self.processes) if process is not None]
        for n in running:
            process = self.processes[n]
            assert process is not None and process.stdin is not None
            process.stdin.close()
        for n in running:
            assert self._gone(n) == 0, self.log(n).read_text()

    def _gone(self, n: int) -> int:
        process = self.processes[n]
        assert process is not None
        self.processes[n] = None
        status = process.wait(timeout=60)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        return status

    def log(self, n: int) -> Path:
        return self.directory / f"node{n + 1}.log"

    @property
    def client_file(self) -> Path:
        return self.directory / "client.toml"

    def leader(self, client: Client) -> int:
        """Which node leads the client's application, as soon as one that answers knows."""
        while True:
            apps = client._read("/v1/cluster", {}).json()["apps"]
            leader = next(one.get("leader") for one in apps if one["appNdx"] == client.app)
            if leader is not None:
                return int(leader["name"].removeprefix("node")) - 1


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    for tries in range(FOUND_TRIES):
        cluster = Cluster(tmp_path_factory.mktemp(f"try{tries}") / "cluster")
        try:
            cluster.start(0, 1, 2)
        except PortTaken:
            for n, process in enumerate(cluster.processes):
                if process is not None:
                    process.kill()
                    cluster._gone(n)
            continue
        yield cluster
        cluster.stop()
        return
    raise RuntimeError("other processes take every port")


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Client]:
    with Client.load(cluster.client_file) as client:
        yield client


def vector(name: str) -> bytes:
    """A file of the vectors to which the Rust code is held."""
    return (ROOT / "src/auth/tests/vectors" / name).read_bytes()


def golden(name: str) -> list[dict[str, str]]:
    """A table that the Rust code is held to as well: `src/cli/tests/operations.rs`."""
    table: dict[str, list[dict[str, str]]] = json.loads(
        (Path(__file__).parent / "operations.json").read_text()
    )
    return table[name]
