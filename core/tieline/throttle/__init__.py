"""One budget per account, kept in Redis and obeyed by every process before each call."""

from tieline.throttle.policy import policy_of, read_override
from tieline.throttle.throttle import Throttle

__all__ = ["Throttle", "policy_of", "read_override"]
