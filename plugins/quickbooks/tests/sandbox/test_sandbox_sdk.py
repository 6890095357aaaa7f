"""Intuit's own OAuth client and python-quickbooks cannot tell the sandbox from Intuit."""

from __future__ import annotations

import json
import time
from contextlib import closing
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import requests
from intuitlib.client import AuthClient
from intuitlib.enums import Scopes
from intuitlib.exceptions import AuthClientError
from quickbooks import QuickBooks, exceptions
from quickbooks.batch import batch_create
from quickbooks.objects.base import EmailAddress
from quickbooks.objects.company_info import CompanyInfo
from quickbooks.objects.customer import Customer

CLIENT_ID = "ABtielinesandboxclientid0000000000000000000000001a"
CLIENT_SECRET = "tielinesandboxclientsecret00000000000001"
REDIRECT = "https://app.example/oauth/callback/quickbooks"


def order(http, base, name, given):
    http.post(f"{base}/_sandbox/{name}", json=given).raise_for_status()


def auth_client(base):
    document = f"{base}/.well-known/openid_configuration"
    return closing(AuthClient(CLIENT_ID, CLIENT_SECRET, REDIRECT, environment=document))


def connected(http, auth):
    """Go the whole way that a browser goes, and return the realm."""
    address = auth.get_authorization_url([Scopes.ACCOUNTING], state_token="s1")
    told = parse_qs(urlsplit(http.get(address).headers["location"]).query)
    assert told["state"] == ["s1"]
    auth.get_bearer_token(told["code"][0], realm_id=told["realmId"][0])
    return told["realmId"][0]


class PlainSession:
    """What python-quickbooks needs of a session; its own refuses plain HTTP."""

    def __init__(self, token, session):
        self.access_token = token
        self.request = session.request


def client_of(base, realm, token, session):
    client = QuickBooks(company_id=realm, minorversion=75)
    client.api_url_v3 = f"{base}/v3"
    client.session = PlainSession(token, session)
    return client


def test_the_oauth_client_connects_refreshes_and_revokes(server, http):
    base = server(rotation="strict")
    with auth_client(base) as auth, requests.Session() as session:
        realm = connected(http, auth)
        before = auth.refresh_token
        auth.refresh()
        assert auth.refresh_token != before
        assert auth.x_refresh_token_expires_in == 8_726_400
        client = client_of(base, realm, auth.access_token, session)
        company = CompanyInfo.get(realm, qb=client)
        assert company.CompanyName == "Hazel & Sons Garden Supply"
        assert auth.revoke() is True
        with pytest.raises(AuthClientError) as caught:
            auth.refresh(before)
        assert caught.value.status_code == 400
        assert caught.value.intuit_tid.startswith("1-")
        with pytest.raises(AuthClientError):
            auth.revoke()


def test_python_quickbooks_raises_what_it_raises_at_intuit(server, http):
    base = server()
    with auth_client(base) as auth, requests.Session() as session:
        realm = connected(http, auth)
        client = client_of(base, realm, auth.access_token, session)
        cases = [
            ({"kind": "status", "status": 401}, exceptions.AuthorizationException, 401),
            ({"kind": "status", "status": 403}, exceptions.QuickbooksException, 10000),
            ({"kind": "status", "status": 429}, exceptions.QuickbooksException, 10000),
            ({"kind": "status", "status": 500}, exceptions.SevereException, 10000),
            ({"kind": "html200"}, exceptions.QuickbooksException, 10000),
        ]
        for fault, kind, code in cases:
            order(http, base, "faults", [fault])
            with pytest.raises(exceptions.QuickbooksException) as caught:
                client.get_single_object("CompanyInfo", realm)
            assert (type(caught.value), caught.value.error_code) == (kind, code)
        with pytest.raises(exceptions.ObjectNotFoundException):
            client.get_single_object("CompanyInfo", "2")
        with pytest.raises(exceptions.UnsupportedException):
            client.get_single_object("Starship", "1")


def test_a_lost_answer_leaves_a_client_with_a_token_that_is_still_taken(server, http):
    base = server()
    with auth_client(base) as auth:
        connected(http, auth)
        order(http, base, "clock", {"advance_s": 90_000})
        before = auth.refresh_token
        order(http, base, "faults", [{"kind": "drop", "executed": True}])
        with pytest.raises(requests.ConnectionError):
            auth.refresh()
        assert auth.refresh_token == before
        auth.refresh()
        assert auth.refresh_token != before


def test_headers_come_once_and_in_the_sandbox_s_time(server, http):
    reply = http.get(f"{server()}/v3/company/1/companyinfo/1")
    names = [name for name, _ in reply.headers.multi_items()]
    assert len(names) == len(set(names))
    assert reply.headers["date"].startswith("Sun, 01 Nov 2026 00:00:0")


def test_a_slow_answer_and_a_late_one(server, http):
    base = server()
    order(http, base, "faults", [{"kind": "slow", "seconds": 0.2, "chunks": 4}])
    began = time.monotonic()
    assert http.get(f"{base}/v3/company/1/companyinfo/1").status_code == 401
    assert time.monotonic() - began >= 0.2
    order(http, base, "faults", [{"kind": "delay", "seconds": 1}])
    with pytest.raises(httpx.ReadTimeout):
        http.get(f"{base}/v3/company/1/companyinfo/1", timeout=0.1)


def test_python_quickbooks_writes_customers_and_empties_them_as_it_does_at_intuit(server, http):
    """Its objects send every field that is not set as a blank, in a sparse update too."""
    base = server(customers=0)
    with auth_client(base) as auth, requests.Session() as session:
        client = client_of(base, connected(http, auth), auth.access_token, session)
        ada = Customer()
        ada.DisplayName = "Ada"
        ada.PrimaryEmailAddr = EmailAddress()
        ada.PrimaryEmailAddr.Address = "ada@example.com"
        assert ada.save(qb=client, request_id="r1").Id == "1"
        assert json.loads(ada.to_json())["Notes"] == ""
        change = {"Id": "1", "SyncToken": "0", "sparse": True, "Notes": "kept", "GivenName": "A"}
        client.update_object("Customer", json.dumps(change))
        stale = Customer.get(1, qb=client)
        again = Customer()
        again.Id, again.SyncToken, again.sparse, again.DisplayName = "1", "1", True, "Ada"
        again.save(qb=client)
        [there] = client.query("SELECT * FROM Customer")["QueryResponse"]["Customer"]
        assert not {"Notes", "GivenName"} & there.keys()
        with pytest.raises(exceptions.QuickbooksException) as caught:
            stale.save(qb=client)
        assert caught.value.error_code == 5010


def test_python_quickbooks_sends_batches_and_reads_their_faults(server, http):
    base = server(customers=0)
    with auth_client(base) as auth, requests.Session() as session:
        client = client_of(base, connected(http, auth), auth.access_token, session)
        given = []
        for name in ("Ada", "Bob", "ada"):
            customer = Customer()
            customer.DisplayName = name
            given.append(customer)
        made = batch_create(given, qb=client)
        assert sorted(each.DisplayName for each in made.successes) == ["Ada", "Bob"]
        [fault] = made.faults
        assert [error.code for error in fault.Error] == ["6240"]
