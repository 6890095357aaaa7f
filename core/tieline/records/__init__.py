"""Records: one form, one order, one way to be written."""

from tieline.records.canonical import canonical, restore
from tieline.records.order import Copy, Known, Order, Verdict
from tieline.records.page import Draft, PageWriter, Plan, Written, rank_of

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
    "rank_of",
    "restore",
]
