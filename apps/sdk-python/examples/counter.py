#!/usr/bin/env python3
"""Counters by name: an application in a process of its own, which answers what apps/sdk-rust/examples/counter.rs answers.

An operation is `NAME` or `NAME +N` or `NAME -N`, as text: it adds to the counter, which begins at 0 and never falls below it, and
answers its value. A query is `NAME`, and answers its value, or `*`, and answers all of them, one a line.

    SYNOD_LANE=data-node1/lanes/counter.sock python3 examples/counter.py
"""

from __future__ import annotations

import re

from synod_sdk import App, Context, NotAQuery, Refused, run

OPERATION = re.compile(rb"([!-)+-~]+)(?: ([+-][0-9]{1,19}))?")


class Counters(App):
    kind = "counter"
    checks = True

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}

    def check(self, operation: bytes) -> None:
        parse(operation)

    def apply(self, context: Context, operation: bytes) -> bytes:
        name, change = parse(operation)
        value = self.counters.get(name, 0)
        if not 0 <= value + change < 2**64:
            raise Refused("conflict", f"{name} is {value}, and {change} would leave its range")
        self.counters[name] = value + change
        return str(value + change).encode()

    def query(self, state_ndx: int, query: bytes) -> bytes:
        if query == b"*":
            return self.snapshot()
        try:
            return str(self.counters.get(query.decode(), 0)).encode()
        except UnicodeDecodeError:
            raise NotAQuery("a name is text") from None

    def snapshot(self) -> bytes:
        # A dict has the order in which its keys came, and equal states must be equal bytes.
        return "".join(f"{name} {value}\n" for name, value in sorted(self.counters.items())).encode()

    def restore(self, snapshot: bytes) -> None:
        lines = (line.split(" ") for line in snapshot.decode().splitlines())
        self.counters = {name: int(value) for name, value in lines}


def parse(operation: bytes) -> tuple[str, int]:
    match = OPERATION.fullmatch(operation)
    change = int(match[2] or b"+1") if match else 0
    if match is None or not -(2**63) <= change < 2**63:
        raise Refused("malformed", "an operation is NAME, NAME +N or NAME -N")
    return match[1].decode(), change


if __name__ == "__main__":
    run(Counters)
