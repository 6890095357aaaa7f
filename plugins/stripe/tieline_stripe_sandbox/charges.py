"""Charges: attempts to take money, failed ones too, and what becomes of them.

Source: Stripe API reference, "Charges", "Refunds" and "Disputes". A refund
that fails, or a dispute, changes its charge, and only an event about the refund
or the dispute tells. Amounts are in Stripe's own smallest unit.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import orjson

from tieline_stripe_sandbox.clock import Clock
from tieline_stripe_sandbox.event_log import EventLog
from tieline_stripe_sandbox.ids import Ids
from tieline_stripe_sandbox.shelf import Object, Shelf, blank

__all__ = ["Charges"]

_CURRENCIES = ("usd", "eur", "gbp", "jpy", "kwd", "isk", "mga", "ugx", "clp", "huf")
_CARD = {
    "brand": "visa",
    "checks": {
        "address_line1_check": None,
        "address_postal_code_check": None,
        "cvc_check": "pass",
    },
    "country": "US",
    "exp_month": 8,
    "exp_year": 2030,
    "fingerprint": "TieFingerprint01",
    "funding": "credit",
    "installments": None,
    "last4": "4242",
    "mandate": None,
    "network": "visa",
    "three_d_secure": None,
    "wallet": None,
}
_BANK = {
    "account_holder_type": "individual",
    "account_type": "checking",
    "bank_name": "STRIPE TEST BANK",
    "fingerprint": "TieFingerprint02",
    "last4": "6789",
    "routing_number": "110000000",
}


class Charges(Shelf):
    """All charges: every tenth failed, every eleventh is a bank debit under way."""

    created_event = "charge.succeeded"

    def __init__(
        self,
        count: int,
        seed: int,
        clock: Clock,
        events: EventLog,
        *,
        customer: Callable[[int], str],
    ) -> None:
        self._ids = Ids("ch", seed, fill="3TieB7WZ01")
        self._debit_ids = Ids("py", seed, fill="3TieB7WZ01")
        self._settled_ids = Ids("txn", seed, fill="3TieB7WZ01")
        self._refund_ids = Ids("re", seed, fill="3TieB7WZ01")
        self._dispute_ids = Ids("du", seed, fill="1TieB7WZ01")
        self._refunds = 0
        self._customer = customer
        super().__init__("charge", count, seed, clock, events)

    def name(self, index: int) -> str:
        """Return the id; one of a bank debit begins otherwise."""
        return (self._debit_ids if index % 11 == 10 else self._ids).of(index)

    def make(self, index: int, created: int, chance: Random) -> Object:
        """Make a charge."""
        is_debit, has_failed = index % 11 == 10, index % 10 == 9
        amount = 100 * chance.randint(1, 900)
        is_held = index % 13 == 12 and not is_debit and not has_failed
        back = amount if index % 17 == 16 else 100 if index % 7 == 6 else 0
        refunded = 0 if has_failed or is_held else back
        type_, details = ("us_bank_account", _BANK) if is_debit else ("card", _CARD)
        return _blank_charge() | {
            "id": self.name(index),
            "amount": amount,
            "amount_captured": 0 if has_failed or is_held else amount,
            "amount_refunded": refunded,
            "balance_transaction": None if has_failed or is_debit else self._settled_ids.of(index),
            "captured": not has_failed and not is_held,
            "created": created,
            "currency": _CURRENCIES[index % len(_CURRENCIES)],
            "customer": self._customer(index) if chance.random() < 0.8 else None,
            "failure_code": "card_declined" if has_failed else None,
            "failure_message": "Your card was declined." if has_failed else None,
            "outcome": _outcome(has_failed=has_failed),
            "paid": not has_failed and not is_debit,
            "payment_intent": f"pi_Tie{index:020d}",
            "payment_method": f"pm_Tie{index:020d}",
            "payment_method_details": {"type": type_, type_: details},
            "refunded": refunded == amount,
            "status": "failed" if has_failed else "pending" if is_debit else "succeeded",
        }

    def usual_event(self, found: Object) -> str:
        """Name the event of a new charge."""
        return f"charge.{found['status']}"

    def add(self, fields: Any, event: str | None = "") -> str:
        """Make a charge; its event says how it went."""
        name = super().add(fields, None)
        if event is not None:
            made = self.get(self._indices[name])
            self.tell(event or self.usual_event(made), made)
        return name

    def happen(self, index: int, chance: Random) -> None:
        """Let something happen to a charge that can happen to it."""
        found = self.get(index)
        left = found["amount_captured"] - found["amount_refunded"]
        if found["status"] == "pending":
            self.settle(index, has_failed=chance.random() < 0.3)
        elif found["status"] == "failed":
            self.change(index, {"metadata": {"n": str(chance.random())}}, "charge.updated")
        elif not found["captured"]:
            captured = {"amount_captured": found["amount"], "captured": True}
            self.change(index, captured, "charge.captured")
        elif left > 0 and chance.random() < 0.5:
            self.refund(index, max(1, left // 2))
        elif found["amount_refunded"] and chance.random() < 0.5:
            self.fail_refund(index)
        elif not found["disputed"]:
            self.dispute(index)
        else:
            self.change(index, {"metadata": {"n": str(chance.random())}}, "charge.updated")

    def settle(self, index: int, *, has_failed: bool) -> None:
        """End a bank debit that was under way."""
        if has_failed:
            fields = {
                "amount_captured": 0,
                "captured": False,
                "failure_code": "insufficient_funds",
                "failure_message": "The account has too little in it.",
                "outcome": _outcome(has_failed=True),
                "status": "failed",
            }
            self.change(index, fields, "charge.failed")
            return
        settled = {"balance_transaction": self._settled_ids.of(index)}
        self.change(index, settled | {"paid": True, "status": "succeeded"}, "charge.succeeded")

    def refund(self, index: int, amount: int) -> None:
        """Give back some of a charge; two events tell."""
        found = self.get(index)
        back = found["amount_refunded"] + amount
        fields = {"amount_refunded": back, "refunded": back == found["amount"]}
        self.change(index, fields, "charge.refunded")
        self._tell_refund(index, "refund.created", "succeeded", amount)

    def fail_refund(self, index: int) -> None:
        """Let all refunds of a charge come back; no event of the charge tells."""
        back = self.get(index)["amount_refunded"]
        self.change(index, {"amount_refunded": 0, "refunded": False}, None)
        for kind in ("refund.failed", "charge.refund.updated"):
            self._tell_refund(index, kind, "failed", back)

    def dispute(self, index: int) -> None:
        """Let a charge be disputed; no event of the charge tells."""
        self.change(index, {"disputed": True}, None)
        found = self.get(index)
        dispute = {
            "id": self._dispute_ids.of(index),
            "object": "dispute",
            "amount": found["amount"],
            "charge": found["id"],
            "created": self.clock.second(),
            "currency": found["currency"],
            "livemode": False,
            "metadata": {},
            "reason": "general",
            "status": "needs_response",
        }
        self.tell_text("charge.dispute.created", orjson.dumps(dispute))

    def _tell_refund(self, index: int, kind: str, status: str, amount: int) -> None:
        found = self.get(index)
        self._refunds += 1
        refund = blank("refund") | {
            "id": self._refund_ids.of(self._refunds),
            "amount": amount,
            "charge": found["id"],
            "created": self.clock.second(),
            "currency": found["currency"],
            "metadata": {},
            "payment_intent": found["payment_intent"],
            "status": status,
        }
        self.tell_text(kind, orjson.dumps(refund))


def _blank_charge() -> Object:
    nowhere = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
    unknown = dict.fromkeys(("email", "name", "phone", "tax_id"))
    # Refunds and the old ``source`` come only when they are expanded, or not at all.
    hidden = ("refunds", "source")
    shown = {name: value for name, value in blank("charge").items() if name not in hidden}
    return shown | {
        "billing_details": {"address": nowhere, **unknown},
        "disputed": False,
        "fraud_details": {},
        "livemode": False,
        "metadata": {},
        "receipt_url": "https://pay.stripe.com/receipts/payment/example",
    }


def _outcome(*, has_failed: bool) -> Object:
    return {
        "advice_code": "try_again_later" if has_failed else None,
        "network_advice_code": None,
        "network_decline_code": "05" if has_failed else None,
        "network_status": "declined_by_network" if has_failed else "approved_by_network",
        "reason": "generic_decline" if has_failed else None,
        "risk_level": "normal",
        "seller_message": "The bank declined." if has_failed else "Payment complete.",
        "type": "issuer_declined" if has_failed else "authorized",
    }
