"""How far a client has seen every application, as the readers' port has it in its header `State-Vector`."""

from __future__ import annotations

import re
import threading

from synod.errors import BadStateVector

_ENTRY = re.compile(r"\s*([0-9]{1,10})=([0-9]{1,20})\s*")
#: An appNdx is below this, and a stateNdx below the other.
_APPS = 1 << 32
_STATES = 1 << 64


class StateVector:
    """A stateNdx for each application that was seen. May be used by many threads, and shared by many clients.

    `str` of it is a token, `"1=7, 2=5"`, and a vector is made of a token: so what one process has seen, another one goes on
    from. It only grows.
    """

    def __init__(self, token: str = "") -> None:
        """Raises `BadStateVector` where the token is none. An empty one is of who has seen nothing."""
        self._states = _parse(token)
        self._lock = threading.Lock()

    def __getitem__(self, app: int) -> int:
        """The latest stateNdx that was seen of an application; 0: none."""
        with self._lock:
            return self._states.get(app, 0)

    def see(self, app: int, state_ndx: int) -> None:
        """Notes that an application was seen in a state, as of a receipt that somebody else got."""
        self._join({app: state_ndx})

    def join(self, other: StateVector | str) -> None:
        """Takes the later state of each application. Raises `BadStateVector` where a token is none."""
        self._join(_parse(str(other)))

    def _join(self, states: dict[int, int]) -> None:
        with self._lock:
            for app, state_ndx in states.items():
                if state_ndx > self._states.get(app, 0):
                    self._states[app] = state_ndx

    def __str__(self) -> str:
        with self._lock:
            states = sorted(self._states.items())
        return ", ".join(f"{app}={state_ndx}" for app, state_ndx in states)

    def __repr__(self) -> str:
        return f"StateVector({str(self)!r})"


def _parse(token: str) -> dict[int, int]:
    states: dict[int, int] = {}
    for entry in token.split(",") if token.strip() else ():
        match = _ENTRY.fullmatch(entry)
        app, state_ndx = (int(match[1]), int(match[2])) if match else (_APPS, _STATES)
        if app >= _APPS or state_ndx >= _STATES or app in states:
            raise BadStateVector(token)
        states[app] = state_ndx
    return states
