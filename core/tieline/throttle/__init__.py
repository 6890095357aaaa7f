"""One budget per account, kept in Redis and obeyed by every process before each call."""

from tieline.throttle.callers import CallerLimit, Turn
from tieline.throttle.keys import Pace
from tieline.throttle.ledger import BreakerState, Event, InFlight, Ledger, Standing, Usage
from tieline.throttle.policy import policy_of, read_override
from tieline.throttle.throttle import BREAKER_OPEN, Throttle

__all__ = [
    "BREAKER_OPEN",
    "BreakerState",
    "CallerLimit",
    "Event",
    "InFlight",
    "Ledger",
    "Pace",
    "Standing",
    "Throttle",
    "Turn",
    "Usage",
    "policy_of",
    "read_override",
]
