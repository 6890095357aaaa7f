"""Orders, and the payments that paid them.

An order's number chooses what it is like: of eight, one is open, one was made
at the Point of Sale (no ``version``), one is a return, one was canceled. Its
payment is of a card, in cash, refunded, failed, or taken offline.

Shapes: Square API reference, "Order" and "Payment".
"""

from __future__ import annotations

from typing import NamedTuple

from tieline_square_sandbox.shelf import Object
from tieline_square_sandbox.times import DAY, write_time

__all__ = ["Sale", "alter_order", "alter_payment", "make_order", "make_payment"]

_OPEN, _POINT_OF_SALE, _RETURN, _CANCELED = 1, 2, 5, 7
_ZERO_DECIMAL = frozenset({"JPY"})


class Sale(NamedTuple):
    """What an order and its payment have in common.

    Attributes:
        number: Chooses what they are like.
        order_id: Of the order.
        payment_id: Of the payment.
        location_id: Where it was sold.
        customer_id: Who bought.
        currency: Of the seller.
        created: Microseconds since 1970.
        updated: The same.
    """

    number: int
    order_id: str
    payment_id: str
    location_id: str
    customer_id: str
    currency: str
    created: int
    updated: int

    @property
    def kind(self) -> int:
        """One of eight."""
        return self.number % 8

    def money(self, amount: int) -> Object:
        """Write an amount of minor units; yen have none smaller."""
        whole = amount // 100 if self.currency in _ZERO_DECIMAL else amount
        return {"amount": whole, "currency": self.currency}


def make_order(sale: Sale) -> Object:
    """Make the order of a sale."""
    money, form = sale.money, sale.number % 4
    is_return, is_open = sale.kind == _RETURN, sale.kind == _OPEN
    total, tax = (0, 0) if is_return else (32_700, 2_700)
    net = (-16_400, -1_400) if is_return else (total, tax)
    value: Object = {
        "id": sale.order_id,
        "location_id": sale.location_id,
        "source": {"name": "Point of Sale" if sale.kind == _POINT_OF_SALE else "Tieline test"},
        "customer_id": sale.customer_id,
        "net_amounts": _amounts(sale, *net),
        "created_at": write_time(sale.created, form),
        "updated_at": write_time(sale.updated, (form + 1) % 4),
        "state": "OPEN" if is_open else "CANCELED" if sale.kind == _CANCELED else "COMPLETED",
        "total_money": money(total),
        "total_tax_money": money(tax),
        "total_discount_money": money(0),
        "total_tip_money": money(0),
        "total_service_charge_money": money(0),
        "net_amount_due_money": money(total if is_open else 0),
    }
    if sale.kind != _POINT_OF_SALE:
        value["version"] = 1 + sale.number % 5
    if not is_open:
        value["closed_at"] = write_time(sale.updated)
        value["tenders"] = [_tender(sale)]
    if is_return:
        return value | {"returns": [_return(sale)], "return_amounts": _amounts(sale, 16_400, 1_400)}
    return value | {"line_items": [_line(sale)], "taxes": [_tax(sale)]}


def make_payment(sale: Sale) -> Object:
    """Make the payment of a sale."""
    money = sale.money(32_700)
    value: Object = {
        "id": sale.payment_id,
        "created_at": write_time(sale.created, (sale.number + 2) % 4),
        "updated_at": write_time(sale.updated, (sale.number + 3) % 4),
        "amount_money": money,
        "total_money": money,
        "approved_money": money,
        "status": "COMPLETED",
        "delay_duration": "PT168H",
        "delay_action": "CANCEL",
        "delayed_until": write_time(sale.created + 7 * DAY),
        "source_type": "CARD",
        "location_id": sale.location_id,
        "order_id": sale.order_id,
        "receipt_number": sale.payment_id[:4],
        "version_token": f"TieVersionToken{sale.updated}",
    }
    if sale.kind != _POINT_OF_SALE:  # elsewhere it may be filled in later
        value["customer_id"] = sale.customer_id
    if sale.kind == _RETURN:
        return value | {"status": "FAILED", "card_details": _declined()}
    value["receipt_url"] = f"https://squareup.com/receipt/preview/{sale.payment_id}"
    if sale.kind == _POINT_OF_SALE:
        cash = {"buyer_supplied_money": sale.money(40_000), "change_back_money": sale.money(7_300)}
        return value | {"source_type": "CASH", "cash_details": cash}
    value["card_details"] = _card(sale)
    if sale.kind == _CANCELED:
        offline = {"client_created_at": write_time(sale.created - 2 * DAY)}
        value |= {"is_offline_payment": True, "offline_payment_details": offline}
    return value


def alter_order(value: Object, fields: Object, now: int) -> Object:
    """Change one; those of the Point of Sale have no version to move."""
    version = {"version": value["version"] + 1} if "version" in value else {}
    return value | fields | version | {"updated_at": write_time(now, now // 1000 % 4)}


def alter_payment(value: Object, fields: Object, now: int) -> Object:
    """Change one, such as by a refund weeks later."""
    token = {"version_token": f"TieVersionToken{now}"}
    return value | fields | token | {"updated_at": write_time(now, now // 1000 % 4)}


def _amounts(sale: Sale, total: int, tax: int) -> Object:
    return {
        "total_money": sale.money(total),
        "tax_money": sale.money(tax),
        "discount_money": sale.money(0),
        "tip_money": sale.money(0),
        "service_charge_money": sale.money(0),
    }


def _line(sale: Sale) -> Object:
    return {
        "uid": "li1",
        "name": "Tea",
        "quantity": "2",
        "variation_name": "Regular",
        "item_type": "ITEM",
        "base_price_money": sale.money(15_000),
        "variation_total_price_money": sale.money(30_000),
        "gross_sales_money": sale.money(30_000),
        "total_tax_money": sale.money(2_700),
        "total_discount_money": sale.money(0),
        "total_money": sale.money(32_700),
    }


def _tax(sale: Sale) -> Object:
    return {
        "uid": "t1",
        "name": "Tax",
        "percentage": "9",
        "type": "ADDITIVE",
        "applied_money": sale.money(2_700),
        "scope": "ORDER",
    }


def _return(sale: Sale) -> Object:
    line = {
        "uid": "rl1",
        "quantity": "1",
        "name": "Tea",
        "base_price_money": sale.money(15_000),
        "total_money": sale.money(16_400),
    }
    return {"uid": "r1", "source_order_id": "TIEORDERCOMPLETE", "return_line_items": [line]}


def _tender(sale: Sale) -> Object:
    return {
        "id": sale.payment_id,
        "location_id": sale.location_id,
        "transaction_id": sale.order_id,
        "created_at": write_time(sale.created, 1),
        "amount_money": sale.money(32_700),
        "type": "CASH" if sale.kind == _POINT_OF_SALE else "CARD",
        "payment_id": sale.payment_id,
    }


def _card(sale: Sale) -> Object:
    return {
        "status": "CAPTURED",
        "card": {
            "card_brand": "VISA",
            "last_4": "1111",
            "exp_month": 11,
            "exp_year": 2030,
            "fingerprint": "sq-1-TieFingerprint",
            "card_type": "CREDIT",
            "prepaid_type": "NOT_PREPAID",
            "bin": "411111",
        },
        "entry_method": "KEYED",
        "cvv_status": "CVV_ACCEPTED",
        "avs_status": "AVS_ACCEPTED",
        "statement_description": "SQ *TIELINE",
        "card_payment_timeline": {
            "authorized_at": write_time(sale.created),
            "captured_at": write_time(sale.updated),
        },
    }


def _declined() -> Object:
    error = {
        "category": "PAYMENT_METHOD_ERROR",
        "code": "CARD_DECLINED",
        "detail": "Card declined.",
    }
    return {"status": "FAILED", "errors": [error]}
