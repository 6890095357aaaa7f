"""Deliveries: verified, committed, answered."""

from tieline.inbox.accept import REFUSALS, Inbox, ReadEndpoint
from tieline.inbox.after import Afterwards, RingDrain
from tieline.inbox.committer import Committer, Told
from tieline.inbox.counts import Counts, read_counts
from tieline.inbox.delivery import Arrival, Delivery, Outcome
from tieline.inbox.endpoint import SPREAD_S, Endpoints, context_of, settings_secrets
from tieline.inbox.verify import REASONS, digest_of

__all__ = [
    "REASONS",
    "REFUSALS",
    "SPREAD_S",
    "Afterwards",
    "Arrival",
    "Committer",
    "Counts",
    "Delivery",
    "Endpoints",
    "Inbox",
    "Outcome",
    "ReadEndpoint",
    "RingDrain",
    "Told",
    "context_of",
    "digest_of",
    "read_counts",
    "settings_secrets",
]
