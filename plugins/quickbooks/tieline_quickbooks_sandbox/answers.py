"""What goes back to the caller: answers, and errors in Intuit's words.

Errors come in two shapes. A company's service writes ``{"Fault": {"Error":
[{"Message", "Detail", "code", "element"}], "type"}, "time"}``; the gateway
before it writes the same in lower case among a dozen empty fields. The OAuth
service has the shape of RFC 6749. Their texts are those that integrators have
quoted in public issues.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from tieline_quickbooks_sandbox.clock import company_text

__all__ = [
    "Answer",
    "ApiError",
    "Headers",
    "bad_argument",
    "bad_property",
    "bad_query",
    "duplicate_name",
    "gateway_fault",
    "json_answer",
    "missing_argument",
    "no_access",
    "no_such_object",
    "not_authenticated",
    "not_connected",
    "oauth_error",
    "page",
    "redirect",
    "refused_value",
    "service_fault",
    "stale_object",
    "subscription_ended",
    "throttled",
    "throttled_service",
    "throttled_xml",
    "unsupported",
]

Headers = tuple[tuple[bytes, bytes], ...]

_JSON = b"application/json;charset=UTF-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer before it goes out."""

    status: int = 200
    body: bytes = b""
    headers: Headers = ()
    content_type: bytes = _JSON


class ApiError(Exception):
    """A refusal, with the answer that says so."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def json_answer(value: Any, *, status: int = 200, headers: Headers = ()) -> Answer:
    """Answer with JSON."""
    return Answer(status=status, body=orjson.dumps(value), headers=headers)


def page(html: str, *, status: int = 200) -> Answer:
    """Answer with a page for people."""
    return Answer(status=status, body=html.encode(), content_type=b"text/html;charset=UTF-8")


def redirect(address: str) -> Answer:
    """Send the browser elsewhere."""
    return Answer(
        status=302,
        headers=((b"location", address.encode()), (b"cache-control", b"no-store")),
        content_type=b"text/html;charset=UTF-8",
    )


def oauth_error(status: int, error: str, description: str = "") -> ApiError:
    """Refuse at the OAuth service; many of its errors have no description."""
    body = {"error": error} | ({"error_description": description} if description else {})
    return ApiError(json_answer(body, status=status, headers=((b"cache-control", b"no-store"),)))


def service_fault(
    status: int, kind: str, code: str, message: str, detail: str, time: str, element: str = ""
) -> ApiError:
    """Refuse as a company's service does."""
    error = {"Message": message, "Detail": detail, "code": code, "element": element}
    return ApiError(
        json_answer({"Fault": {"Error": [error], "type": kind}, "time": time}, status=status)
    )


def gateway_fault(
    status: int, kind: str, code: str, reason: str, now: float, detail: str | None = None
) -> ApiError:
    """Refuse as the gateway does.

    Args:
        status: HTTP status, which is repeated in the message.
        kind: ``AUTHENTICATION``, ``AUTHORIZATION`` or ``SERVICE``.
        code: Four digits.
        reason: One word.
        now: Seconds since the epoch; the answer has milliseconds.
        detail: Further words; most have none.
    """
    message = f"message={reason}; errorCode=00{code}; statusCode={status}"
    error = {"message": message, "detail": detail, "code": code, "element": None}
    body: dict[str, Any] = {
        "warnings": None,
        "intuitObject": None,
        "fault": {"error": [error], "type": kind},
        "report": None,
        "queryResponse": None,
        "batchItemResponse": [],
        "attachableResponse": [],
        "syncErrorResponse": None,
        "requestId": None,
        "time": int(now * 1000),
        "status": None,
        "cdcresponse": [],
    }
    return ApiError(json_answer(body, status=status))


def not_authenticated(now: float) -> ApiError:
    """Say that the access token is expired, revoked, unknown or missing."""
    return gateway_fault(401, "AUTHENTICATION", "3200", "AuthenticationFailed", now)


def not_connected(now: float) -> ApiError:
    """Say that the token opens another company, or has not the scope."""
    return gateway_fault(403, "AUTHORIZATION", "3100", "ApplicationAuthorizationFailed", now)


def throttled(now: float) -> ApiError:
    """Say that there were too many requests."""
    detail = "The request limit was reached.  Try again later"
    return gateway_fault(429, "SERVICE", "3001", "ThrottleExceeded", now, detail)


def throttled_service(now: float) -> ApiError:
    """Say the same as a company's service does."""
    message = "message=ThrottleExceeded; errorCode=003001; statusCode=429"
    detail = "The request limit was reached.  Try again later"
    time = company_text(now)
    return service_fault(429, "SERVICE", "3001", message, detail, time)


def throttled_xml(now: float) -> ApiError:
    """Say the same in XML, although JSON was asked for."""
    text = (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?><IntuitResponse'
        f' xmlns="http://schema.intuit.com/finance/v3" time="{company_text(now)}">'
        '<Fault type="SERVICE"><Error code="3001"><Message>message=ThrottleExceeded;'
        " errorCode=003001; statusCode=429</Message></Error></Fault></IntuitResponse>"
    )
    kind = b"application/xml;charset=UTF-8"
    return ApiError(Answer(status=429, body=text.encode(), content_type=kind))


def no_access(time: str) -> ApiError:
    """Say that the user who connected the company may no longer use it."""
    detail = "AuthorizationFailure: null, statusCode: 401"
    return service_fault(401, "AuthorizationFault", "120", "Authorization Failure", detail, time)


def subscription_ended(time: str) -> ApiError:
    """Say that the company no longer pays."""
    detail = "Subscription period has ended or been canceled, or there was a billing problem"
    return service_fault(400, "ValidationFault", "6190", "Invalid Company Status", detail, time)


def no_such_object(time: str) -> ApiError:
    """Say that there is no object of this id."""
    detail = (
        "Object Not Found : Something you're trying to use has been made inactive."
        " Check the fields with accounts, customers, items, vendors or employees."
    )
    return service_fault(400, "ValidationFault", "610", "Object Not Found", detail, time)


def bad_query(code: str, detail: str, time: str) -> ApiError:
    """Say that a query cannot be understood (4000), or names what is not there (4001)."""
    message = "Error parsing query" if code == "4000" else "Invalid query"
    return service_fault(400, "ValidationFault", code, message, detail, time)


def missing_argument(name: str, time: str) -> ApiError:
    """Say that a parameter is missing."""
    message = "Required param missing, need to supply the required value for the API"
    detail = f"Required parameter {name} is missing in the request"
    return service_fault(400, "ValidationFault", "2020", message, detail, time)


def bad_argument(name: str, why: str, time: str) -> ApiError:
    """Say that a parameter cannot be used. Intuit's own words are not known."""
    message = "Invalid or unsupported argument"
    return service_fault(400, "ValidationFault", "2170", message, f"{name} {why}", time)


def unsupported(what: str, time: str) -> ApiError:
    """Say that there is no such resource, or not with this method."""
    detail = f"Operation {what} is not supported."
    return service_fault(400, "ValidationFault", "500", "Unsupported Operation", detail, time)


def bad_property(name: str, time: str) -> ApiError:
    """Say that there is no such property, or not with such a value."""
    message = "Request has invalid or unsupported property"
    detail = f"Property Name:{name} specified is unsupported or invalid"
    return service_fault(400, "ValidationFault", "2010", message, detail, time)


def refused_value(code: str, message: str, detail: str, element: str, time: str) -> ApiError:
    """Say that a value breaks a rule of its field, or of the company's."""
    detail = f"{message} : {detail}"
    return service_fault(400, "ValidationFault", code, message, detail, time, element)


def stale_object(time: str) -> ApiError:
    """Say that somebody changed it meanwhile."""
    message = "Stale Object Error"
    detail = (
        "Stale Object Error : You and root were working on this at the same time. root"
        " finished before you did, so your work was not saved."
    )
    return service_fault(400, "ValidationFault", "5010", message, detail, time)


def duplicate_name(time: str) -> ApiError:
    """Say that a customer, vendor or employee has the name."""
    message = "Duplicate Name Exists Error"
    detail = (
        "The name supplied already exists. : Another customer, vendor or employee is already"
        " using this name. Please use a different name."
    )
    return service_fault(400, "ValidationFault", "6240", message, detail, time)
