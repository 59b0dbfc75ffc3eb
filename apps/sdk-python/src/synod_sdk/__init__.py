"""An application for Synod in a process of its own.

Derive from `App`, and call `run`: it connects to the node's socket, and answers what the node asks until the connection ends. The
process keeps nothing on disk. Whenever it is killed, the next one is given a snapshot and the commands since, and has to come to
the same outcomes. So what a command does may depend on the state, the command and its `Context` alone: on no clock, no chance,
no file, no environment, no order of a set, not on `hash()`, which differs from process to process, and on no `float`.
"""

from synod_sdk.app import App, Context, NotAQuery, Refused
from synod_sdk.lane import LaneError, run

__all__ = ["App", "Context", "LaneError", "NotAQuery", "Refused", "run"]
