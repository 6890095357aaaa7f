"""Records: one form, one order, one way to be written."""

from tieline.records.canonical import (
    canonical,
    holds,
    is_same_content,
    raw_text,
    read_raw,
    restore,
)
from tieline.records.draft import Draft, record_key
from tieline.records.order import Copy, Known, Order, Verdict
from tieline.records.page import PageWriter, Plan, Written, rank_of

__all__ = [
    "Copy",
    "Draft",
    "Known",
    "Order",
    "PageWriter",
    "Plan",
    "Verdict",
    "Written",
    "canonical",
    "holds",
    "is_same_content",
    "rank_of",
    "raw_text",
    "read_raw",
    "record_key",
    "restore",
]
