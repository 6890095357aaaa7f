"""Deliveries: verified, committed, answered."""

from tieline.inbox.accept import REFUSALS, Inbox, ReadEndpoint, Taken, judge
from tieline.inbox.after import Afterwards, RingDrain
from tieline.inbox.committer import Committer, Told
from tieline.inbox.compose import put_text, set_values
from tieline.inbox.counts import Counts, read_counts, read_old_secrets
from tieline.inbox.delivery import Arrival, Delivery, Outcome, Refusal, key_of_event
from tieline.inbox.endpoint import (
    SPREAD_S,
    Endpoint,
    Endpoints,
    context_of,
    fingerprint_of,
    settings_secrets,
)
from tieline.inbox.sign import new_signing_secret, sign, signed_by
from tieline.inbox.verify import REASONS, digest_of, has_time

__all__ = [
    "REASONS",
    "REFUSALS",
    "SPREAD_S",
    "Afterwards",
    "Arrival",
    "Committer",
    "Counts",
    "Delivery",
    "Endpoint",
    "Endpoints",
    "Inbox",
    "Outcome",
    "ReadEndpoint",
    "Refusal",
    "RingDrain",
    "Taken",
    "Told",
    "context_of",
    "digest_of",
    "fingerprint_of",
    "has_time",
    "judge",
    "key_of_event",
    "new_signing_secret",
    "put_text",
    "read_counts",
    "read_old_secrets",
    "set_values",
    "settings_secrets",
    "sign",
    "signed_by",
]
