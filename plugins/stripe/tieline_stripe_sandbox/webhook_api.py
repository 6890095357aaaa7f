"""The endpoints of the API that make, show, change and delete webhook endpoints.

Source: Stripe API reference, "Webhook Endpoints".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import orjson

from tieline_stripe_sandbox.answers import (
    Answer,
    ApiError,
    invalid_request,
    list_answer,
    missing,
    missing_parameter,
    unknown_parameters,
)
from tieline_stripe_sandbox.customer_form import merge_metadata, read_metadata
from tieline_stripe_sandbox.params import Params, Value, as_list, as_text
from tieline_stripe_sandbox.request import Request
from tieline_stripe_sandbox.webhook_endpoints import Endpoint, Endpoints
from tieline_stripe_sandbox.windows import LIST_PARAMETERS, page_of, read_window

__all__ = ["WebhookApi"]

_FILTERS = LIST_PARAMETERS - {"created"}
_CHANGING = frozenset({"description", "enabled_events", "expand", "metadata", "url"})
_NEW = _CHANGING | {"api_version", "connect"}
_MOST = 16  # of an account and a mode; from memory of Stripe's dashboard
_LONGEST_URL = 2048


class WebhookApi:
    """Answers under ``/v1/webhook_endpoints``.

    Args:
        endpoints: All of them.
        account_of: Says in whose name a request asks.
        check_version: Refuses what is no API version.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        account_of: Callable[[dict[bytes, bytes]], str],
        check_version: Callable[[bytes], None],
    ) -> None:
        self._endpoints = endpoints
        self._account_of = account_of
        self._check_version = check_version

    def page(self, request: Request, _name: str) -> Answer:
        """Answer a list, newest first."""
        params = request.params()
        if unknown := [name for name in params if name not in _FILTERS]:
            raise unknown_parameters(unknown)
        found = self._endpoints.of(self._account_of(request.headers))
        places = {each.id: place for place, each in enumerate(found)}

        def place_of(name: str, param: str) -> int:
            if name not in places:
                raise _missing(name, param)
            return places[name]

        window = read_window(params, place_of)
        low, high = window.bounds(len(found), lambda place: found[place].created)
        walk = range(low, high) if window.after is not None else range(high - 1, low - 1, -1)
        page, has_more = page_of(window, list(islice(walk, window.limit + 1)))
        texts = [orjson.dumps(found[place].shown()) for place in page]
        return list_answer(b"/v1/webhook_endpoints", texts, has_more=has_more)

    def one(self, request: Request, name: str) -> Answer:
        """Answer one endpoint."""
        if unknown := [given for given in request.params() if given != "expand"]:
            raise unknown_parameters(unknown)
        return _answer(self._found(request, name))

    def create(self, request: Request, _name: str) -> Answer:
        """Make an endpoint; only this answer tells its secret."""
        params = request.params()
        account = self._account_of(request.headers)
        if unknown := [name for name in params if name not in _NEW]:
            raise unknown_parameters(unknown)
        for name in ("url", "enabled_events"):
            if name not in params:
                raise missing_parameter(name)
        given = _given(params, {})
        version = self._version(params)
        if len(self._endpoints.of(account)) >= _MOST:
            raise invalid_request(
                f"You have reached the maximum of {_MOST} test webhook endpoints."
            )
        is_connect = _is_true(params.get("connect", "false"), "connect")
        made = self._endpoints.add(account, api_version=version, is_connect=is_connect, **given)
        return Answer(body=orjson.dumps(made.shown() | {"secret": made.secret}))

    def update(self, request: Request, name: str) -> Answer:
        """Change an endpoint; its version stays what it was."""
        found = self._found(request, name)
        params = request.params()
        if unknown := [name for name in params if name not in _CHANGING | {"disabled"}]:
            raise unknown_parameters(unknown)
        given = _given(params, found.metadata)
        if "disabled" in params:
            given["is_disabled"] = _is_true(params["disabled"], "disabled")
        for field, value in given.items():
            setattr(found, field, value)
        return _answer(found)

    def delete(self, request: Request, name: str) -> Answer:
        """Delete an endpoint."""
        found = self._found(request, name)
        self._endpoints.remove(found)
        stub = {"id": found.id, "object": "webhook_endpoint", "deleted": True}
        return Answer(body=orjson.dumps(stub))

    def _found(self, request: Request, name: str) -> Endpoint:
        found = self._endpoints.find(name, self._account_of(request.headers))
        if found is None:
            raise _missing(name)
        return found

    def _version(self, params: Params) -> str | None:
        if "api_version" not in params:
            return None
        version = as_text(params["api_version"], "api_version")
        self._check_version(version.encode())
        return version


def _answer(endpoint: Endpoint) -> Answer:
    return Answer(body=orjson.dumps(endpoint.shown()))


def _missing(name: str, param: str = "id") -> ApiError:
    return missing("webhook endpoint", name, param=param)


def _given(params: Params, metadata: dict[str, str]) -> dict[str, Any]:
    """Read what may be given at any time; only what is given is in it."""
    given: dict[str, Any] = {}
    if "url" in params:
        given["url"] = _url(params["url"])
    if "enabled_events" in params:
        given["enabled_events"] = _events(params["enabled_events"])
    if "description" in params:
        text = params["description"]
        given["description"] = None if text == "" else as_text(text, "description")
    if "metadata" in params:
        kept = {} if params["metadata"] == "" else metadata
        given["metadata"] = merge_metadata(kept, read_metadata(params["metadata"]))
    return given


def _url(value: Value) -> str:
    url = as_text(value, "url")
    try:
        parts = urlsplit(url)
        is_good = bool(parts.hostname) and url.isascii() and url.isprintable() and " " not in url
        _ = parts.port
    except ValueError:
        is_good = False
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"}:
        raise _invalid_url("An explicit scheme (such as https) must be provided.")
    if not is_good or len(url) > _LONGEST_URL:
        raise _invalid_url("URL must be a valid address.")
    return url


def _invalid_url(words: str) -> ApiError:
    return invalid_request(f"Invalid URL: {words}", "url", "url_invalid")


def _events(value: Value) -> list[str]:
    names = [as_text(name, "enabled_events") for name in as_list(value, "enabled_events")]
    if not names:
        raise invalid_request("Invalid array", "enabled_events", "parameter_invalid_empty")
    for place, name in enumerate(names):
        if name != "*" and name not in _types():
            param = f"enabled_events[{place}]"
            raise invalid_request(f"Invalid {param}: {name} is no type of event", param)
    if "*" in names and len(names) > 1:
        raise invalid_request(
            "The event types '*' and others exclude each other.", "enabled_events"
        )
    return list(dict.fromkeys(names))


@cache
def _types() -> frozenset[str]:
    file = resources.files(__package__).joinpath("data/event_types.json")
    return frozenset(orjson.loads(file.read_bytes()))


def _is_true(value: Value, name: str) -> bool:
    if value not in {"true", "false"}:
        raise invalid_request(f"Invalid boolean: {value}", name)
    return value == "true"
