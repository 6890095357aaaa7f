"""Records: one form, one order, one way to be written."""

from tieline.records.canonical import (
    canonical,
    holds,
    is_same_content,
    raw_text,
    read_raw,
    restore,
)
from tieline.records.order import Copy, Known, Order, Verdict
from tieline.records.page import Draft, PageWriter, Plan, Written, rank_of, record_key

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
