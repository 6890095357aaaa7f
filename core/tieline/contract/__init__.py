"""All that a plugin may import of Tieline.

A provider's plugin states what is true of the provider and how to do one
step; the engine decides when, how often, how fast and what to store. See
``docs/reference/contract.md``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from tieline.contract.alerts import Alert, Severity
from tieline.contract.declarations import (
    ApiKey,
    Basic,
    Deletes,
    Direction,
    Entity,
    EventAction,
    Feed,
    FeedStep,
    KeyOf,
    Observation,
    PageStep,
    Provider,
    Rate,
    RateLimitPolicy,
    ReadRecord,
    Version,
    Windows,
)
from tieline.contract.errors import (
    ANSWER_TOO_SLOW,
    ConflictError,
    CursorExpiredError,
    InvalidRecordError,
    NeedsReauthError,
    OutcomeUnknownError,
    PermissionDeniedError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RecordNotFoundError,
    RequestRejectedError,
    RetryLaterError,
    SettingsError,
    TielineError,
)
from tieline.contract.headers import as_of, retry_after
from tieline.contract.jsontext import NotFinite, parse_json
from tieline.contract.oauth import Auth, OAuth2, Revocation
from tieline.contract.pages import after_last_key, by_cursor, page_of
from tieline.contract.reading import delivery_of, list_of, object_of, text_of, time_of
from tieline.contract.shapes import (
    Address,
    Canonical,
    Contact,
    Invoice,
    InvoiceState,
    Line,
    Order,
    OrderState,
    Payment,
    PaymentState,
    Product,
    Shape,
    exponent_of,
    money,
    utc,
)
from tieline.contract.values import (
    Account,
    Change,
    Connection,
    Credential,
    FeedPage,
    Money,
    Page,
    PageParams,
    Record,
    Reply,
    Secret,
    Transport,
    Window,
)
from tieline.contract.webhooks import (
    STANDARD_WEBHOOKS,
    EndpointOwner,
    Event,
    Hmac,
    PathSecret,
    Registration,
    Scheme,
    Webhooks,
)
from tieline.contract.writes import Operation, OperationKind, Outcome, SendBatch, SendOne, Write

if TYPE_CHECKING:
    from tieline.contract.hookspecs import (
        CONTRACT_VERSION,
        OBSERVERS,
        OPTIONAL,
        PROJECT,
        REQUIRED,
        hookimpl,
        hookspec,
    )
    from tieline.contract.schema import Number, RecordSchema, Whole

__all__ = [
    "ANSWER_TOO_SLOW",
    "CONTRACT_VERSION",
    "OBSERVERS",
    "OPTIONAL",
    "PROJECT",
    "REQUIRED",
    "STANDARD_WEBHOOKS",
    "Account",
    "Address",
    "Alert",
    "ApiKey",
    "Auth",
    "Basic",
    "Canonical",
    "Change",
    "ConflictError",
    "Connection",
    "Contact",
    "Credential",
    "CursorExpiredError",
    "Deletes",
    "Direction",
    "EndpointOwner",
    "Entity",
    "Event",
    "EventAction",
    "Feed",
    "FeedPage",
    "FeedStep",
    "Hmac",
    "InvalidRecordError",
    "Invoice",
    "InvoiceState",
    "KeyOf",
    "Line",
    "Money",
    "NeedsReauthError",
    "NotFinite",
    "Number",
    "OAuth2",
    "Observation",
    "Operation",
    "OperationKind",
    "Order",
    "OrderState",
    "Outcome",
    "OutcomeUnknownError",
    "Page",
    "PageParams",
    "PageStep",
    "PathSecret",
    "Payment",
    "PaymentState",
    "PermissionDeniedError",
    "Product",
    "Provider",
    "ProviderError",
    "ProviderUnavailableError",
    "Rate",
    "RateLimitPolicy",
    "RateLimitedError",
    "ReadRecord",
    "Record",
    "RecordNotFoundError",
    "RecordSchema",
    "Registration",
    "Reply",
    "RequestRejectedError",
    "RetryLaterError",
    "Revocation",
    "Scheme",
    "Secret",
    "SendBatch",
    "SendOne",
    "SettingsError",
    "Severity",
    "Shape",
    "TielineError",
    "Transport",
    "Version",
    "Webhooks",
    "Whole",
    "Window",
    "Windows",
    "Write",
    "after_last_key",
    "as_of",
    "by_cursor",
    "delivery_of",
    "exponent_of",
    "hookimpl",
    "hookspec",
    "list_of",
    "money",
    "object_of",
    "page_of",
    "parse_json",
    "retry_after",
    "text_of",
    "time_of",
    "utc",
]

# pluggy and marshmallow take longer to import than all the rest, and whoever wants
# the class of an error needs neither: what is made of them is imported at first use.
_LATER = {
    "CONTRACT_VERSION": "hookspecs",
    "OBSERVERS": "hookspecs",
    "OPTIONAL": "hookspecs",
    "PROJECT": "hookspecs",
    "REQUIRED": "hookspecs",
    "hookimpl": "hookspecs",
    "hookspec": "hookspecs",
    "Number": "schema",
    "RecordSchema": "schema",
    "Whole": "schema",
}

if not TYPE_CHECKING:  # a checker that saw it would believe in every name

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
