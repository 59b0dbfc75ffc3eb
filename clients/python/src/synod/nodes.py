"""The nodes of a cluster, asked one after another until one answers or the time is over."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: Seconds of pause after every node was asked once; it doubles from round to round.
_PAUSE_MIN = 0.01
_PAUSE_MAX = 1.0


@dataclass(frozen=True)
class Node:
    """Where one node listens, as `host:port`. Its certificate has to carry the host of `commanders`."""

    commanders: str
    readers: str


class Nodes:
    """Every node, the one first that answered last."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        if not nodes:
            raise ValueError("name at least one node")
        self._nodes = tuple(nodes)
        self._first = 0

    def prefer(self, node: Node) -> None:
        """The next call begins at this node."""
        self._first = self._nodes.index(node)

    def attempts(self, seconds: float) -> Iterator[tuple[Node, float]]:
        """One node after another, with the seconds that are left: the preferred one first, each of the others after hardly a
        pause, and then all of them again."""
        deadline = time.monotonic() + seconds
        first, count, asked = self._first, len(self._nodes), 0
        while (left := deadline - time.monotonic()) > 0:
            yield self._nodes[(first + asked) % count], left
            asked += 1
            rounds = asked // count
            if rounds:
                longest = min(_PAUSE_MIN * 2 ** min(rounds, 16), _PAUSE_MAX)
                time.sleep(min(random.uniform(longest / 2, longest), max(deadline - time.monotonic(), 0)))
