"""Stripe's lists: newest first, 100 at a time, after the last id."""

from __future__ import annotations

from collections.abc import Mapping

from tieline.contract import PageStep, Window, after_last_key
from tieline_stripe.client import StripeApi

__all__ = ["pages_of"]


def pages_of(name: str, **query: object) -> PageStep:
    """Make the step that reads one list, with these parameters in every request."""
    path, query = f"/v1/{name}", {"limit": 100, **query}
    return after_last_key(StripeApi.get, path, query=query, bounds=_created_in)


def _created_in(window: Window) -> Mapping[str, object]:
    """Bound ``created``, in whole seconds; no bound sends no parameter."""
    edges = {"gte": window.start, "lt": window.end}
    created = {name: int(edge.timestamp()) for name, edge in edges.items() if edge}
    return {"created": created} if created else {}
