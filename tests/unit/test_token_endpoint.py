"""One call to a token endpoint: what goes over the wire, and what is made of the answer."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest

from tieline.auth import TokenEndpoint
from tieline.contract import (
    Account,
    Connection,
    NeedsReauthError,
    OAuth2,
    OutcomeUnknownError,
    ProviderUnavailableError,
    RateLimitedError,
    RequestRejectedError,
    Revocation,
    Secret,
    SettingsError,
)
from tieline.registry import Registry
from tieline.settings import Application
from wire import Wire

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
SECRET = "s3cret/+=&%"
CODE = "c0de-CANARY-0123456789/+=&"
TOKEN = "refresh-CANARY-0123456789"
BACK = "http://127.0.0.1:8377/oauth/callback/x?a=b c"
GOOD = {"access_token": "access-token", "refresh_token": "refresh-token"}


@pytest.fixture
def wire():
    with Wire() as made:
        made.answer(GOOD)
        yield made


def declared(**changes) -> OAuth2:
    given = {"authorize_url": "/authorize", "token_url": "/token", "client_auth": "body"} | changes
    return OAuth2(identify=lambda client: Account(), **given)


def endpoint(wire, oauth: OAuth2, *, secret: str = SECRET, call_s: float = 5.0) -> TokenEndpoint:
    connection = Connection(
        id="con_x",
        name="x",
        provider="acme",
        environment="live",
        base_url=f"http://{wire.netloc}",
        is_redirected=True,
    )
    application = Application(client_id="the client", client_secret=Secret(secret))
    return TokenEndpoint("Acme", oauth, connection, application, call_s=call_s)


def exchange(wire, oauth: OAuth2, *, verifier: str = "", given: dict | None = None, **options):
    return endpoint(wire, oauth, **options).exchange(
        Secret(CODE),
        redirect_uri=BACK,
        verifier=Secret(verifier) if verifier else None,
        given=given or {},
        now=NOW,
    )


def refresh(wire, oauth: OAuth2, **options):
    return endpoint(wire, oauth, **options).refresh(Secret(TOKEN), now=NOW)


# --- the request ---------------------------------------------------------------------------------

FORM_CODE = "c0de-CANARY-0123456789%2F%2B%3D%26"
FORM_BACK = "http%3A%2F%2F127.0.0.1%3A8377%2Foauth%2Fcallback%2Fx%3Fa%3Db+c"
FORM_SECRET = "s3cret%2F%2B%3D%26%25"
FORM_CLIENT = f"client_id=the+client&client_secret={FORM_SECRET}"
BASIC = b64encode(f"the client:{SECRET}".encode()).decode()
JSON = "Content-Type: application/json"
FORM = "Content-Type: application/x-www-form-urlencoded"
# Provider: path, headers of its own and the type, body of an exchange, body of a refresh.
REQUESTS = {
    "stripe": (
        "/oauth/token",
        [FORM],
        [f"Authorization: Bearer {SECRET}"],
        f"grant_type=authorization_code&code={FORM_CODE}",
        f"grant_type=refresh_token&refresh_token={TOKEN}",
    ),
    "square": (
        "/oauth2/token",
        [JSON],
        [],
        json.dumps(
            {
                "grant_type": "authorization_code",
                "code": CODE,
                "redirect_uri": BACK,
                "client_id": "the client",
                "client_secret": SECRET,
            },
            separators=(",", ":"),
        ),
        json.dumps(
            {
                "grant_type": "refresh_token",
                "refresh_token": TOKEN,
                "client_id": "the client",
                "client_secret": SECRET,
            },
            separators=(",", ":"),
        ),
    ),
    "mailchimp": (
        "/oauth2/token",
        [FORM],
        [],
        f"grant_type=authorization_code&code={FORM_CODE}&redirect_uri={FORM_BACK}&{FORM_CLIENT}",
        f"grant_type=refresh_token&refresh_token={TOKEN}&{FORM_CLIENT}",
    ),
    "quickbooks": (
        "/oauth2/v1/tokens/bearer",
        [FORM],
        ["x-include-refresh-token-hard-expires-in: true", f"Authorization: Basic {BASIC}"],
        f"grant_type=authorization_code&code={FORM_CODE}&redirect_uri={FORM_BACK}",
        f"grant_type=refresh_token&refresh_token={TOKEN}",
    ),
}


def oauth_of(provider: str) -> OAuth2:
    return next(auth for auth in Registry().get(provider).auth if isinstance(auth, OAuth2))


def assert_sent(wire: Wire, path: str, headers: list[str], body: str) -> None:
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {wire.netloc}",
        "Accept-Encoding: gzip",
        "Accept: application/json",
        *headers,
        f"Content-Length: {len(body)}",
        "",
        body,
    ]
    assert wire.requests == ["\r\n".join(lines).encode()]


@pytest.mark.parametrize("provider", REQUESTS)
def test_a_code_is_exchanged_in_the_words_of_its_provider(wire, provider):
    path, kind, own, body, _ = REQUESTS[provider]
    kept = {"stripe_user_id": "acct_1", "merchant_id": "M1", "realmId": "1"}
    wire.answer(GOOD | kept)
    exchange(wire, oauth_of(provider), given=kept)
    assert_sent(wire, path, [*own, *kind], body)


@pytest.mark.parametrize("provider", REQUESTS)
def test_tokens_are_renewed_in_the_words_of_their_provider(wire, provider):
    path, kind, own, _, body = REQUESTS[provider]
    refresh(wire, oauth_of(provider))
    assert_sent(wire, path, [*own, *kind], body)


VERIFIER = "v" * 43
EXCHANGES = {
    "body": ({"client_auth": "body"}, SECRET, f"&{FORM_CLIENT}"),
    "body, public": ({"client_auth": "body"}, "", "&client_id=the+client"),
    "basic, public": ({"client_auth": "basic"}, "", "&client_id=the+client"),
}


@pytest.mark.parametrize(("changes", "secret", "last"), EXCHANGES.values(), ids=EXCHANGES)
def test_the_proof_goes_along_and_a_public_client_names_itself(wire, changes, secret, last):
    exchange(wire, declared(**changes), verifier=VERIFIER, secret=secret)
    body = f"grant_type=authorization_code&code={FORM_CODE}&redirect_uri={FORM_BACK}"
    assert_sent(wire, "/token", [FORM], f"{body}&code_verifier={VERIFIER}{last}")


def test_what_a_provider_may_see_as_its_own_address_is_called_at_the_sandbox(wire):
    exchange(wire, declared(token_url="https://login.example.com/deep/token?v=1"))
    assert wire.requests[0].startswith(b"POST /deep/token?v=1 HTTP/1.1\r\nHost: 127.0.0.1:")


REVOCATIONS = {
    "stripe": (
        {"account_id": "acct_1"},
        "/oauth/deauthorize",
        [f"Authorization: Bearer {SECRET}", FORM],
        "client_id=the+client&stripe_user_id=acct_1",
    ),
    "square": (
        {"merchant_id": "M1", "access_token": "unused"},
        "/oauth2/revoke",
        [f"Authorization: Client {SECRET}", JSON],
        '{"client_id":"the client","merchant_id":"M1"}',
    ),
    "quickbooks": (
        {"refresh_token": TOKEN, "realm_id": "1"},
        "/v2/oauth2/tokens/revoke",
        [f"Authorization: Basic {BASIC}", JSON],
        f'{{"token":"{TOKEN}"}}',
    ),
}


@pytest.mark.parametrize("provider", REVOCATIONS)
def test_access_is_given_back_in_the_words_of_its_provider(wire, provider):
    fields, path, headers, body = REVOCATIONS[provider]
    wire.answer(b"")
    assert endpoint(wire, oauth_of(provider)).revoke(fields) is True
    assert_sent(wire, path, headers, body)


REVOKED = {
    "stripe: gone": (
        "stripe",
        401,
        {
            "error": "invalid_client",
            "error_description": "This application is not connected to stripe account acct_1, or"
            " that account does not exist.",
        },
        None,
    ),
    "stripe: another refusal": (
        "stripe",
        401,
        {"error": "invalid_client", "error_description": "No such API key"},
        SettingsError,
    ),
    "quickbooks: gone": ("quickbooks", 400, b"", None),
    "quickbooks: another refusal": (
        "quickbooks",
        400,
        {"error": "invalid_request"},
        RequestRejectedError,
    ),
    "square: gone": (
        "square",
        401,
        {"errors": [{"category": "AUTHENTICATION_ERROR", "code": "ACCESS_TOKEN_REVOKED"}]},
        None,
    ),
    "square: down": ("square", 503, b"", ProviderUnavailableError),
}


@pytest.mark.parametrize(("provider", "status", "body", "kind"), REVOKED.values(), ids=REVOKED)
def test_what_was_gone_counts_as_given_back(wire, provider, status, body, kind):
    wire.answer(body, status)
    fields = REVOCATIONS[provider][0]
    if kind is None:
        assert endpoint(wire, oauth_of(provider)).revoke(fields) is True
        return
    with pytest.raises(kind):
        endpoint(wire, oauth_of(provider)).revoke(fields)


def test_without_a_way_or_a_secret_nothing_is_given_back(wire):
    assert endpoint(wire, oauth_of("mailchimp")).revoke(GOOD) is False
    way = Revocation(url="/revoke", fields={"token": "access_token"})
    assert endpoint(wire, declared(revocation=way), secret="").revoke(GOOD) is False
    assert wire.requests == []


# --- refusals ------------------------------------------------------------------------------------

HTML = b"<html><h1>Bad Request</h1></html>"
REFUSALS = {
    "the grant is gone": (400, {"error": "invalid_grant"}, NeedsReauthError, "needs-reauth"),
    "the same, with words": (
        400,
        {"error": "invalid_grant", "error_description": "Token revoked"},
        NeedsReauthError,
        "invalid_grant: Token revoked",
    ),
    "the same, well": (200, {"error": "invalid_grant"}, NeedsReauthError, "answered 200"),
    "the same, 401": (401, {"error": "invalid_grant"}, NeedsReauthError, "answered 401"),
    "the same, 500": (500, {"error": "invalid_grant"}, ProviderUnavailableError, "answered 500"),
    "the same, 429": (429, {"error": "invalid_grant"}, RateLimitedError, "answered 429"),
    "a list of errors": (
        401,
        {"errors": [{"category": "X", "code": "GONE", "detail": "long gone"}]},
        NeedsReauthError,
        "GONE: long gone",
    ),
    "a list of errors, well": (200, {"errors": [{"code": "GONE"}]}, NeedsReauthError, "GONE"),
    "an error that is an object": (
        400,
        {"error": {"code": "GONE", "message": "it is"}},
        NeedsReauthError,
        "GONE: it is",
    ),
    "an error with a type alone": (
        400,
        {"error": {"type": "invalid_request_error", "message": "no"}},
        RequestRejectedError,
        "invalid_request_error: no",
    ),
    "the application is unknown": (
        401,
        {"error": "invalid_client"},
        SettingsError,
        "application-refused",
    ),
    "the older shape": (
        401,
        {"message": "Not Authorized", "type": "service.not_authorized"},
        SettingsError,
        "service.not_authorized: Not Authorized",
    ),
    "another refusal": (
        400,
        {"error": "invalid_scope", "error_description": "no such scope"},
        RequestRejectedError,
        "invalid_scope: no such scope",
    ),
    "400 as a page": (400, HTML, ProviderUnavailableError, "without saying why"),
    "400 with nothing": (400, b"", ProviderUnavailableError, "without saying why"),
    "403 of a firewall": (403, HTML, ProviderUnavailableError, "answered 403"),
    "404 as a page": (404, HTML, ProviderUnavailableError, "answered 404"),
    "400 with a list": (400, ["invalid_grant"], ProviderUnavailableError, "answered 400"),
    "400 with numbers": (400, {"error": True}, ProviderUnavailableError, "answered 400"),
    "400 with odd errors": (400, {"errors": ["x"]}, ProviderUnavailableError, "answered 400"),
    "503 as a page": (503, HTML, ProviderUnavailableError, "answered 503"),
    "a page": (200, HTML, OutcomeUnknownError, "what is no JSON object"),
    "nothing": (200, b"", OutcomeUnknownError, "what is no JSON object"),
    "half an answer": (200, b'{"access_token": "x', OutcomeUnknownError, "no JSON object"),
    "a list": (200, [GOOD], OutcomeUnknownError, "what is no JSON object"),
    "a text": (200, "access_token", OutcomeUnknownError, "what is no JSON object"),
    "no token": (200, {"token_type": "bearer"}, OutcomeUnknownError, "no access token"),
    "an empty token": (200, {"access_token": ""}, OutcomeUnknownError, "no access token"),
    "a true token": (200, {"access_token": True}, OutcomeUnknownError, "no access token"),
    "a token with a line": (200, {"access_token": "a\r\nb"}, OutcomeUnknownError, "no access"),
    "a token with a space": (200, {"access_token": "a b"}, OutcomeUnknownError, "no access"),
    "a token of another script": (200, {"access_token": "ключ"}, OutcomeUnknownError, "no access"),
    "an endless token": (200, {"access_token": "x" * 20_000}, OutcomeUnknownError, "no access"),
    "too large": (200, b"[" + b"0," * 600_000 + b"0]", OutcomeUnknownError, "larger than"),
}


@pytest.mark.parametrize(("status", "body", "kind", "words"), REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("call", [exchange, refresh])
def test_only_what_says_so_means_that_the_grant_is_gone(wire, call, status, body, kind, words):
    wire.answer(body, status)
    oauth = declared(
        refused=("invalid_grant", "GONE"),
        client_refused=("invalid_client", "service.not_authorized"),
    )
    with pytest.raises(kind) as caught:
        call(wire, oauth)
    assert type(caught.value) is kind
    error = caught.value
    assert words in f"{error.slug} {error.message}"
    assert len(error.message) < 700
    assert len(wire.requests) == 1  # asking again is somebody else's decision


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimitedError), (503, None)])
def test_how_long_to_wait_is_passed_on(wire, status, kind):
    wire.answer({"error": "x"}, status, Retry_After="17")
    with pytest.raises(kind or ProviderUnavailableError) as caught:
        refresh(wire, declared())
    assert caught.value.retry_after == 17


def test_redirects_are_not_followed(wire):
    wire.answer(b"", 307, Location=f"http://{wire.netloc}/elsewhere")
    with pytest.raises(RequestRejectedError, match="redirects are not followed"):
        refresh(wire, declared())
    assert len(wire.requests) == 1


LOST = {
    "closed": (None, 0.0),
    "nonsense": (b"SSH-2.0-OpenSSH_9.6\r\n", 0.0),
    "cut off": (b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n{}", 0.0),
    "one byte at a time": (b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n" + b" " * 100, 0.05),
}


@pytest.mark.parametrize(("reply", "pause_s"), LOST.values(), ids=LOST)
def test_a_lost_answer_is_one_whose_outcome_nobody_knows(wire, reply, pause_s):
    wire.reply, wire.pause_s = reply, pause_s
    began = time.monotonic()
    with pytest.raises(OutcomeUnknownError, match="Acme's token endpoint: "):
        refresh(wire, declared(), call_s=0.5)
    assert time.monotonic() - began < 2
    assert len(wire.requests) == 1


def test_nobody_there_is_no_known_outcome_either():
    wire = Wire()
    wire.__enter__().__exit__()
    with pytest.raises(OutcomeUnknownError, match="gave no answer"):
        refresh(wire, declared())


def test_what_echoes_the_secrets_is_told_without_them(wire):
    echo = f"{CODE} {SECRET * 2} {BASIC}"
    wire.answer({"error": "invalid_request", "error_description": echo}, 400)
    with pytest.raises(RequestRejectedError) as caught:
        exchange(wire, declared(client_auth="basic"), secret=SECRET * 2)
    assert "CANARY" not in caught.value.message
    assert "s3cret" not in caught.value.message
    assert "grant_type=authorization_code" not in caught.value.message


def test_words_of_the_protocol_are_no_secrets(wire):
    said = f"authorization_code at {BACK} for acct_123456789"
    wire.answer({"error": "invalid_request", "error_description": said}, 400)
    with pytest.raises(RequestRejectedError) as caught:
        exchange(wire, declared())
    assert said in caught.value.message


# --- the grant -----------------------------------------------------------------------------------


def after(**time) -> datetime:
    return NOW + timedelta(**time)


# None: it is not told, and what is declared counts.
ENDS = {
    "a number": ({"expires_in": 3600}, after(hours=1)),
    "a fraction": ({"expires_in": 1.5}, after(seconds=1.5)),
    "a text": ({"expires_in": "60"}, after(minutes=1)),
    "nothing": ({}, None),
    "null": ({"expires_in": None}, None),
    "zero": ({"expires_in": 0}, None),
    "zero as text": ({"expires_in": "0"}, None),
    "negative": ({"expires_in": -5}, None),
    "negative as text": ({"expires_in": "-5"}, None),
    "huge": ({"expires_in": 10**15}, None),
    "beyond a float": ({"expires_in": 10**400}, None),
    "a word": ({"expires_in": "soon"}, None),
    "true": ({"expires_in": True}, None),
    "a list": ({"expires_in": [3600]}, None),
    "with Z": ({"expires_at": "2026-11-01T15:00:00Z"}, after(hours=3)),
    "with a fraction": ({"expires_at": "2026-11-01T15:00:00.250Z"}, after(hours=3, seconds=0.25)),
    "with a zone": ({"expires_at": "2026-11-01T15:00:00+02:00"}, after(hours=1)),
    "without a zone": ({"expires_at": "2026-11-01T15:00:00"}, None),
    "a date": ({"expires_at": "2026-11-02"}, None),
    "no time": ({"expires_at": "2026-13-45T99:00:00Z"}, None),
    "the last year": ({"expires_at": "9999-12-31T23:59:59-12:00"}, None),
    "since 1970": ({"expires_at": NOW.timestamp() + 7200}, after(hours=2)),
    "since 1970, as text": ({"expires_at": f"{NOW.timestamp() + 7200:.0f}"}, after(hours=2)),
    "past": ({"expires_at": "2026-10-01T00:00:00Z"}, datetime(2026, 10, 1, tzinfo=UTC)),
    "both": ({"expires_in": 3600, "expires_at": "2026-11-01T12:30:00Z"}, after(minutes=30)),
}


@pytest.mark.parametrize(("told", "ends_at"), ENDS.values(), ids=ENDS)
def test_when_the_access_token_ends(wire, told, ends_at):
    wire.answer(GOOD | told)
    assert refresh(wire, declared()).access_expires_at == ends_at
    lived = refresh(wire, declared(access_lifetime=timedelta(hours=9))).access_expires_at
    assert lived == ends_at or (ends_at is None and lived == after(hours=9))


def test_a_token_that_is_not_kept_has_no_end(wire):
    wire.answer(GOOD | {"expires_in": 60})
    grant = refresh(wire, declared(discard=("access_token", "refresh_token")))
    assert grant.fields == {}
    assert grant.access_expires_at is None


def test_the_earliest_deadline_of_the_refresh_token_counts(wire):
    names = ("a_expires_in", "b_expires_at", "c_expires_in")
    oauth = declared(refresh_deadlines=names)
    wire.answer(GOOD | {"a_expires_in": 8726400, "b_expires_at": "2026-12-01T00:00:00Z"})
    assert refresh(wire, oauth).refresh_expires_at == datetime(2026, 12, 1, tzinfo=UTC)
    wire.answer(GOOD | {"a_expires_in": "86400", "b_expires_at": None, "c_expires_in": 0})
    assert refresh(wire, oauth).refresh_expires_at == after(days=1)
    wire.answer(GOOD)
    assert refresh(wire, oauth).refresh_expires_at is None


SCOPES = {
    "a text": ({"scope": "read write"}, ("read", "write")),
    "with commas": ({"scope": "read,write, more"}, ("read", "write", "more")),
    "a list": ({"scope": ["read", "write"]}, ("read", "write")),
    "another name": ({"scopes": ["read"]}, ("read",)),
    "nothing": ({}, None),
    "null": ({"scope": None}, None),
    "an empty text": ({"scope": ""}, ()),
    "a number": ({"scope": 7}, None),
    "an object": ({"scope": {"read": True}}, None),
    "a mixed list": ({"scope": ["read", 7, None, "write"]}, ("read", "write")),
    "control characters": ({"scope": ["re\x1b[31mad\u202e"]}, ("re [31mad",)),
    "very many": ({"scope": ["x"] * 1000}, ("x",) * 200),
}


@pytest.mark.parametrize(("told", "scopes"), SCOPES.values(), ids=SCOPES)
def test_the_rights_that_were_given(wire, told, scopes):
    wire.answer(GOOD | told)
    assert refresh(wire, declared()).scopes == scopes


KEPT = {
    "from the answer": ({"realm": "9341405202631762"}, {}, "9341405202631762"),
    "a number": ({"realm": 9341405202631762}, {}, "9341405202631762"),
    "never what the visitor says": ({"realm": "12"}, {"realm": "13"}, "12"),
}


@pytest.mark.parametrize(("told", "given", "kept"), KEPT.values(), ids=KEPT)
def test_further_fields_are_kept(wire, told, given, kept):
    wire.answer(GOOD | told)
    grant = exchange(wire, declared(keep={"realm": "realm_id"}), given=given)
    assert grant.fields == GOOD | {"realm_id": kept}


def test_a_visitor_cannot_name_what_the_answer_left_out(wire):
    wire.answer(GOOD)
    with pytest.raises(RequestRejectedError, match="Acme named no realm"):
        exchange(wire, declared(keep={"realm": "realm_id"}), given={"realm": "13"})


def test_what_only_the_redirect_tells_is_kept_from_there(wire):
    wire.answer(GOOD | {"realm": "13"})
    oauth = declared(keep_redirect={"realm": "realm_id"})
    assert exchange(wire, oauth, given={"realm": "12"}).fields == GOOD | {"realm_id": "12"}
    with pytest.raises(RequestRejectedError, match="Acme named no realm"):
        exchange(wire, oauth, given={})


@pytest.mark.parametrize("realm", [None, "", True, {"a": 1}, "a\nb", "x" * 20_000])
def test_without_a_field_that_is_needed_nothing_is_connected(wire, realm):
    wire.answer(GOOD | {"realm": realm})
    with pytest.raises(RequestRejectedError, match="Acme named no realm"):
        exchange(wire, declared(keep={"realm": "realm_id"}), given={"realm": ""})
    assert refresh(wire, declared(keep={"realm": "realm_id"})).fields == GOOD


def test_an_answer_may_lack_a_new_refresh_token(wire):
    wire.answer({"access_token": "new"})
    assert refresh(wire, declared()).fields == {"access_token": "new"}


@pytest.mark.parametrize("empty", [{"error": None, "errors": []}, {"error": "", "errors": None}])
def test_errors_that_are_none_cost_no_grant(wire, empty):
    wire.answer(GOOD | empty)
    assert refresh(wire, declared()).fields == GOOD
