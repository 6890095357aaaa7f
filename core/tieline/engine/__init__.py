"""Plan, claim, fetch, write, end, reconcile."""

from tieline.engine.ask import Asked, ask_run, ring_for
from tieline.engine.blame import blamed
from tieline.engine.drain import drain_events, ring_drain
from tieline.engine.finish import end
from tieline.engine.help import help_run
from tieline.engine.idle import Idle
from tieline.engine.kit import Engine, this_worker
from tieline.engine.reconcile import mourn, sweep

__all__ = [
    "Asked",
    "Engine",
    "Idle",
    "ask_run",
    "blamed",
    "drain_events",
    "end",
    "help_run",
    "mourn",
    "ring_drain",
    "ring_for",
    "sweep",
    "this_worker",
]
