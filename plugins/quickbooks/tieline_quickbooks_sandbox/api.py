"""The endpoints: which request is answered by whom, and what a company checks first."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from tieline_quickbooks_sandbox.answers import (
    Answer,
    json_answer,
    no_access,
    no_such_object,
    not_authenticated,
    not_connected,
    page,
    subscription_ended,
    unsupported,
)
from tieline_quickbooks_sandbox.clock import Clock
from tieline_quickbooks_sandbox.companies import Company, company_info
from tieline_quickbooks_sandbox.consent import ACCOUNTING, CONSENT_PATH, Consent
from tieline_quickbooks_sandbox.grants import Grants
from tieline_quickbooks_sandbox.limits import Limits
from tieline_quickbooks_sandbox.reads import Reads
from tieline_quickbooks_sandbox.request import Request
from tieline_quickbooks_sandbox.seeds import CUSTOMER, INVOICE
from tieline_quickbooks_sandbox.tokens import REVOKE_PATH, TOKEN_PATH, OAuth
from tieline_quickbooks_sandbox.writes import Writes

__all__ = ["Api"]

_COMPANY = re.compile(r"/v3/company/([^/]+)/(.*)")

Handler = Callable[[Request], Answer]
Resource = Callable[[Company, Request, tuple[str, ...]], Answer]
"""Answers for one company; the texts are what the pattern's groups matched."""


class Api:
    """Answers whatever Intuit's hosts answer.

    Args:
        clock: Stamps answers.
        seed: Fills in what companies tell of themselves.
        companies: Whose data there are.
        grants: Who may read them.
        consent: Answers browsers.
        oauth: Answers applications.
        reads: Answers from the companies' books.
        writes: Writes into them.
        limits: How often each company may be called.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        seed: int,
        companies: Sequence[Company],
        grants: Grants,
        consent: Consent,
        oauth: OAuth,
        reads: Reads,
        writes: Writes,
        limits: Limits,
    ) -> None:
        self._clock = clock
        self._seed = seed
        self._companies = {company.id: company for company in companies}
        self._grants = grants
        self._limits = limits
        self._paths: dict[tuple[str, str], Handler] = {
            ("GET", CONSENT_PATH): consent.ask,
            ("POST", CONSENT_PATH): consent.decide,
            ("POST", TOKEN_PATH): oauth.tokens,
            ("POST", REVOKE_PATH): oauth.revoke,
            ("GET", "/.well-known/openid_configuration"): oauth.discovery,
            ("GET", "/.well-known/openid_sandbox_configuration"): oauth.discovery,
        }
        self._resources: list[tuple[str, re.Pattern[str], Resource]] = [
            ("GET", re.compile(r"companyinfo/([^/]+)"), self._company_info),
            ("GET", re.compile("query"), reads.query),
            ("POST", re.compile("query"), reads.query),
            ("GET", re.compile("cdc"), reads.changes),
            ("POST", re.compile("customer"), writes.customer),
            ("POST", re.compile("batch"), writes.batch),
            ("GET", re.compile(r"customer/(.+)"), partial(reads.one, CUSTOMER)),
            ("GET", re.compile(r"invoice/(.+)"), partial(reads.one, INVOICE)),
        ]

    def under_way(self, request: Request) -> AbstractContextManager[None]:
        """Count a call to the token endpoint or a company while it is under way; others pass."""
        if found := _COMPANY.fullmatch(request.path):
            return self._limits.under_way(found[1])
        if request.path != TOKEN_PATH:
            return nullcontext()
        return self._grants.under_way(request.form().get("refresh_token", ""))

    def execute(self, request: Request) -> Answer:
        """Answer a request.

        Raises:
            ApiError: A refusal.
        """
        handler = self._paths.get((request.method, request.path))
        if handler is not None:
            return handler(request)
        found = _COMPANY.fullmatch(request.path)
        if found is None:
            return page("<html><body><h1>404 Not Found</h1></body></html>", status=404)
        return self._of_company(request, *found.groups())

    def _of_company(self, request: Request, realm: str, rest: str) -> Answer:
        company = self._admit(request, realm)
        is_write = request.method == "POST" and rest != "query"
        self._limits.take(realm, is_metered=not is_write, is_batch=rest == "batch")
        for method, pattern, resource in self._resources:
            matched = pattern.fullmatch(rest)
            if matched and method == request.method:
                return resource(company, request, matched.groups())
        what = f"{request.method} {rest.partition('/')[0]}"
        raise unsupported(what, self._clock.company_time())

    def _admit(self, request: Request, realm: str) -> Company:
        """Check the token first, then the company, then its user and its bills."""
        grant = self._grants.opened_by(request.bearer())
        if grant is None:
            raise not_authenticated(self._clock.now())
        company = self._companies.get(realm)
        if company is not grant.company or ACCOUNTING not in grant.scopes:
            raise not_connected(self._clock.now())
        if company.has_lost_rights:
            raise no_access(self._clock.company_time())
        if company.is_suspended:
            raise subscription_ended(self._clock.company_time())
        return company

    def _company_info(self, company: Company, _request: Request, parts: tuple[str, ...]) -> Answer:
        if parts[0] != company.id:
            raise no_such_object(self._clock.company_time())
        return json_answer(
            {
                "CompanyInfo": company_info(company, self._seed),
                "time": self._clock.company_time(),
            }
        )
