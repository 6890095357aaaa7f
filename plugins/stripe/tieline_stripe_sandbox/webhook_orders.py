"""What the control surface tells of webhooks, and the orders it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tieline_stripe_sandbox.clock import Clock
from tieline_stripe_sandbox.courier import Courier
from tieline_stripe_sandbox.event_log import EventLog
from tieline_stripe_sandbox.webhook_endpoints import Endpoint, Endpoints

__all__ = ["WebhookOrders"]

_OVERLAP_S = 86_400
_OWN = frozenset({"flush", "overlap_s", "resend", "roll", "to"})


class WebhookOrders:
    """The part of the control surface at ``/_sandbox/webhooks``."""

    def __init__(self, endpoints: Endpoints, courier: Courier, log: EventLog, clock: Clock) -> None:
        self.courier = courier
        self._endpoints = endpoints
        self._log = log
        self._clock = clock

    def read(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the endpoints with their secrets, and what was delivered."""
        now = self._clock.now()
        shown = [
            each.shown()
            | {"account": each.account, "connect": each.is_connect, "secrets": each.secrets(now)}
            for each in self._endpoints.all()
        ]
        return {"endpoints": shown} | self.courier.facts(int(query.get("after", "0")))

    async def order(self, given: object) -> dict[str, Any]:
        """Carry out orders; ValueError says what makes no sense.

        Returns:
            ``{"secret"}`` for ``roll``, ``{"sent"}`` for ``resend``, else how
            deliveries leave and how many wait.
        """
        if not isinstance(given, dict):
            raise TypeError("orders are an object")
        own = {name: value for name, value in given.items() if name in _OWN}
        self.courier.order({name: value for name, value in given.items() if name not in _OWN})
        told: dict[str, Any] = {}
        if "roll" in own:
            endpoint = self._endpoint(own["roll"])
            overlap_s = float(own.get("overlap_s", _OVERLAP_S))
            told["secret"] = self._endpoints.roll(endpoint, overlap_s)
        if "resend" in own:
            position = self._log.position(str(own["resend"]), now=self._clock.second())
            if position is None:
                raise ValueError(f"no event {own['resend']}")
            only = self._endpoint(own["to"]) if "to" in own else None
            told["sent"] = self.courier.send(position, only)
        if own.get("flush"):
            await self.courier.flush()
        facts = self.courier.facts(0)
        return told | {"manner": facts["manner"], "waiting": facts["waiting"]}

    def _endpoint(self, name: object) -> Endpoint:
        found = self._endpoints.find(str(name))
        if found is None:
            raise ValueError(f"no endpoint {name}")
        return found
