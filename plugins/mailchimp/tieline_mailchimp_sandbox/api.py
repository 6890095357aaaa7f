"""The API under ``/3.0``: who calls, and which endpoint answers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from tieline_mailchimp_sandbox.answers import Answer, Problem, json_answer
from tieline_mailchimp_sandbox.bulk import Bulk
from tieline_mailchimp_sandbox.fields import select
from tieline_mailchimp_sandbox.grants import Grants
from tieline_mailchimp_sandbox.listing import Listing, missing
from tieline_mailchimp_sandbox.request import Request
from tieline_mailchimp_sandbox.root import root_of
from tieline_mailchimp_sandbox.webhooks import Webhooks
from tieline_mailchimp_sandbox.world import Account, World
from tieline_mailchimp_sandbox.writing import Writing

__all__ = ["PREFIX", "Api"]

PREFIX = "/3.0"
_Endpoint = Callable[..., Answer | Awaitable[Answer]]


class Api:
    """Answers what is asked under ``/3.0``."""

    def __init__(
        self, world: World, grants: Grants, listing: Listing, bulk: Bulk, webhooks: Webhooks
    ) -> None:
        self._world = world
        self._grants = grants
        writing = Writing(listing)
        member = "lists/([^/]+)/members/([^/]+)"
        self._routes: dict[str, dict[str, _Endpoint]] = {
            "": {"GET": _root},
            "ping": {"GET": _ping},
            "lists": {"GET": listing.lists},
            "lists/([^/]+)": {"GET": listing.one_list, "POST": bulk},
            "lists/([^/]+)/merge-fields": {"GET": listing.merge_fields},
            "lists/([^/]+)/members": {"GET": listing.members, "POST": writing.create},
            member: {
                "GET": listing.one_member,
                "PUT": writing.upsert,
                "PATCH": writing.update,
                "DELETE": writing.archive,
            },
            "lists/([^/]+)/webhooks": {"GET": webhooks.all, "POST": webhooks.create},
            "lists/([^/]+)/webhooks/([^/]+)": {
                "GET": webhooks.one,
                "PATCH": webhooks.update,
                "DELETE": webhooks.delete,
            },
            f"{member}/tags": {"GET": listing.tags, "POST": writing.tag},
            f"{member}/actions/delete-permanent": {"POST": writing.erase},
        }

    def caller(self, request: Request) -> Account:
        """Return whose key or token a request carries.

        Raises:
            Problem: 401. A dead token and a dead key are refused alike.
        """
        key = request.password()
        token = request.token("bearer", "oauth")
        if not key and not token:
            raise Problem(401, "API Key Missing", "Your request did not include an API key.")
        found = self._world.by_key(key) if key else self._grants.account_of(token)
        if found is None:
            raise Problem(
                401,
                "API Key Invalid",
                "Your API key may be invalid, or you've attempted to access the wrong datacenter.",
            )
        return found

    def execute(self, request: Request, account: Account) -> Answer | Awaitable[Answer]:
        """Carry a request out, at once or, where others have to be asked, when awaited.

        Raises:
            Problem: 404 for an unknown path, 405 for a method that it lacks.
        """
        methods, names = self._route(request.path.removeprefix(PREFIX).strip("/"))
        if request.method not in methods:
            allowed = ", ".join(methods).encode()
            raise Problem(
                405,
                "Method Not Allowed",
                "The requested method and resource are not compatible. See the Allow header for "
                "this resource's available methods.",
                headers=((b"allow", allowed),),
            )
        return methods[request.method](request, account, *names)

    def _route(self, path: str) -> tuple[dict[str, _Endpoint], tuple[str, ...]]:
        for pattern, methods in self._routes.items():
            if found := re.fullmatch(pattern, path):
                return methods, found.groups()
        raise missing()


def _root(request: Request, account: Account) -> Answer:
    return json_answer(select(root_of(account, request.origin), request.params()))


def _ping(_request: Request, _account: Account) -> Answer:
    return json_answer({"health_status": "Everything's Chimpy!"})
