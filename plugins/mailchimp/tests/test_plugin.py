"""What is special about Mailchimp: keys, hosts, errors, the SDK's traps, two accounts at once."""

from __future__ import annotations

import ast
import base64
import importlib
import io
import json
import pkgutil
import threading
import tokenize
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import mailchimp_marketing
import pytest
import requests
from mailchimp_marketing import ListsApi
from mailchimp_marketing.api_client import ApiClientError

import tieline_mailchimp
from tieline import contract
from tieline.contract import (
    ApiKey,
    Connection,
    Credential,
    NeedsReauthError,
    OAuth2,
    PermissionDeniedError,
    ProviderUnavailableError,
    RateLimitedError,
    RecordNotFoundError,
    Reply,
    RequestRejectedError,
)
from tieline_mailchimp import account, errors
from tieline_mailchimp.client import MailchimpApi

KEY = "0123456789abcdef0123456789abcdef-us6"
TOKEN = "5c6ccc561059aa386da9d112215bae55"
SIGN_IN = "https://login.mailchimp.com"
HOST = "https://us6.api.mailchimp.com"


class Answers:
    """A transport that gives prepared answers and remembers what was asked."""

    def __init__(self, *answers: Reply | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, dict, bytes | None]] = []

    def send(self, method, url, *, headers, content=None):
        self.asked.append((method, url, dict(headers), content))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def answer(status: int = 200, body: object = b"", **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status=status, headers=named, content=content, seconds=0.1)


def problem(
    status: int, title: str = "No", detail: str = "It was refused.", **headers: str
) -> Reply:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return answer(status, body | {"instance": "1"}, **headers)


def api(*answers, base_url: str = HOST, is_redirected: bool = False, **fields: str):
    transport = Answers(*answers)
    connection = Connection(
        id="con_1",
        name="news",
        provider="mailchimp",
        environment="production",
        base_url=base_url,
        is_redirected=is_redirected,
    )
    credential = Credential(fields or {"api_key": KEY})
    return MailchimpApi(connection, credential, transport), transport


def root(name: str = "Example Co", account_id: str = "8d3a3db4d97663a9074efcc16") -> Reply:
    return answer(200, {"account_id": account_id, "account_name": name})


def metadata(endpoint: str = HOST) -> Reply:
    return answer(200, {"dc": "us6", "accountname": "x", "user_id": 1, "api_endpoint": endpoint})


def test_two_ways_to_connect_the_key_first():
    key, oauth = tieline_mailchimp.tieline_auth()
    assert isinstance(key, ApiKey)
    assert isinstance(oauth, OAuth2)
    assert (oauth.client_auth, oauth.scopes, oauth.revocation, oauth.refresh_every) == (
        "body",
        (),
        None,
        None,
    )
    provider = tieline_mailchimp.tieline_provider()
    assert provider.environments == {"production": SIGN_IN}
    for address in (HOST, SIGN_IN, "https://us21.api.mailchimp.com"):
        assert provider.owns(address)
    for address in (
        "https://api.mailchimp.com",
        "https://a.b.api.mailchimp.com",
        "http://us6.api.mailchimp.com",
    ):
        assert not provider.owns(address)


KEYS = {
    "good": (KEY, HOST),
    "another data centre": (
        "0123456789abcdef0123456789abcdef-us21",
        "https://us21.api.mailchimp.com",
    ),
    "short": ("0a-us1", "https://us1.api.mailchimp.com"),
    "no dash": ("0123456789abcdef0123456789abcdef", None),
    "empty tail": ("0123456789abcdef-", None),
    "empty head": ("-us6", None),
    "a host": ("0123456789abcdef-evil.example", None),
    "a path": ("0123456789abcdef-us6/../x", None),
    "an at sign": ("0123456789abcdef-us6@evil", None),
    "no number": ("0123456789abcdef-us", None),
    "line break": ("0123456789abcdef-us6\n", None),
    "transactional": ("md-us6", None),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_key_tells_its_host_or_why_it_is_none(case):
    key, host = KEYS[case]
    auth, _ = tieline_mailchimp.tieline_auth()
    assert auth.base_url(key) == host
    reason = auth.refuse(key)
    assert (reason is None) is (host is not None)
    assert "0123456789" not in (reason or "")


ANSWERS = {
    "401": (problem(401, "API Key Invalid"), NeedsReauthError),
    "401 bare": (answer(401), NeedsReauthError),
    "403": (problem(403, "Forbidden"), PermissionDeniedError),
    "403 disabled": (problem(403, "User Disabled"), NeedsReauthError),
    "403 other data centre": (problem(403, "Wrong Datacenter"), NeedsReauthError),
    "403 bare": (answer(403), RateLimitedError),
    "403 html": (answer(403, b"<html>\xff</html>"), RateLimitedError),
    "403 json of a proxy": (answer(403, {"message": "no"}), RateLimitedError),
    "429": (problem(429, "Too Many Requests"), RateLimitedError),
    "429 bare": (answer(429), RateLimitedError),
    "404": (problem(404, "Resource Not Found"), RecordNotFoundError),
    "400": (problem(400, "Invalid Resource"), RequestRejectedError),
    "405": (problem(405, "Method Not Allowed"), RequestRejectedError),
    "414": (answer(414, b"<html>"), RequestRejectedError),
    "422": (problem(422), RequestRejectedError),
    "426": (answer(426), RequestRejectedError),
    "500": (problem(500, "Internal Server Error"), ProviderUnavailableError),
    "500 bare": (answer(500), ProviderUnavailableError),
    "502 html": (answer(502, b"<html>"), ProviderUnavailableError),
    "503 list": (answer(503, []), ProviderUnavailableError),
    "503 title of no text": (answer(503, {"title": 5}), ProviderUnavailableError),
    "good status, no body": (answer(200), ProviderUnavailableError),
    "good status, html": (answer(200, b"<html>"), ProviderUnavailableError),
    "good status, nothing in it": (answer(200, {}), ProviderUnavailableError),
    "good status, a list": (answer(200, []), ProviderUnavailableError),
    "good status, an id of no text": (answer(200, {"account_id": 5}), ProviderUnavailableError),
    "no content": (answer(204), ProviderUnavailableError),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_every_answer_says_what_happens_next(case):
    reply, expected = ANSWERS[case]
    mailchimp, _ = api(reply)
    with pytest.raises(contract.ProviderError) as caught:
        account.identify_by_key(mailchimp)
    assert type(caught.value) is expected


def test_what_mailchimp_said_is_told_and_retry_after_is_read():
    mailchimp, _ = api(problem(429, "Too Many Requests", "Ten at once.", retry_after="7"))
    with pytest.raises(
        RateLimitedError, match="answered 429: Too Many Requests: Ten at once"
    ) as caught:
        account.identify_by_key(mailchimp)
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("fields", [{"api_key": KEY}, {"access_token": TOKEN}], ids=str)
def test_a_message_never_holds_the_secret(fields):
    [secret] = fields.values()
    mailchimp, _ = api(problem(400, f"Bad {secret}", f"You sent {secret}." * 50), **fields)
    with pytest.raises(RequestRejectedError) as caught:
        mailchimp.ask(mailchimp.root().get_root)
    assert secret not in caught.value.message
    assert secret[:8] not in caught.value.message
    assert len(caught.value.message) < 400


def test_what_the_transport_raises_comes_through_as_it_was():
    for raised in (
        ProviderUnavailableError("too slow"),
        RateLimitedError("no room", retry_after=3),
        RequestRejectedError("not theirs", code="address-refused"),
        TypeError("a bug"),
    ):
        mailchimp, _ = api(raised)
        with pytest.raises(type(raised)) as caught:
            account.identify_by_key(mailchimp)
        assert caught.value is raised


def every_error_class() -> list[type[Exception]]:
    modules = pkgutil.walk_packages(mailchimp_marketing.__path__, "mailchimp_marketing.")
    found = {
        value
        for module in modules
        for value in vars(importlib.import_module(module.name)).values()
        if isinstance(value, type)
        and issubclass(value, Exception)
        and value.__module__.startswith("mailchimp_marketing")
    }
    return sorted(found, key=lambda kind: kind.__name__)


def test_the_sdk_has_the_error_classes_that_we_know():
    assert [kind.__name__ for kind in every_error_class()] == ["ApiClientError", "ApiException"]


@pytest.mark.parametrize("kind", every_error_class(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("status", [None, 400, 401, 403, 404, 422, 429, 500])
def test_every_error_class_of_the_sdk_is_mapped(kind, status):
    error = kind.__new__(kind)
    error.text = error.body = json.dumps({"title": "No", "status": status})
    error.status_code = error.status = status
    assert isinstance(errors.classify(error), contract.ProviderError)


SAID = {
    "document as text": (ApiClientError('{"title": "Forbidden"}', 403), PermissionDeniedError),
    "document": (ApiClientError({"title": "Forbidden"}, 403), PermissionDeniedError),
    "html": (ApiClientError("<html>", 403), RateLimitedError),
    "nothing": (ApiClientError(None, 500), ProviderUnavailableError),
    "timeout": (ApiClientError(requests.Timeout()), ProviderUnavailableError),
    "no connection": (ApiClientError(requests.ConnectionError()), ProviderUnavailableError),
    "a body that is no JSON": (ApiClientError(TypeError("x")), RequestRejectedError),
    "ours": (ApiClientError(NeedsReauthError("x")), NeedsReauthError),
    "surrogates": (ApiClientError("\ud800", 502), ProviderUnavailableError),
}


@pytest.mark.parametrize("case", SAID)
def test_errors_of_the_sdk_say_what_happens_next_in_all_their_forms(case):
    error, expected = SAID[case]
    assert type(tieline_mailchimp.tieline_classify(error)) is expected


def test_what_is_not_the_sdk_s_is_left_alone():
    assert errors.classify(ValueError("x")) is None


def test_by_key_the_root_is_asked_with_basic_and_few_fields():
    mailchimp, transport = api(root('Smith & <b>"'))
    found = account.identify_by_key(mailchimp)
    assert found == contract.Account(id="8d3a3db4d97663a9074efcc16", name='Smith & <b>"')
    [(method, url, headers, content)] = transport.asked
    assert (method, content) == ("GET", None)
    assert url == f"{HOST}/3.0/?fields=account_id%2Caccount_name"
    pair = base64.b64decode(headers["Authorization"].removeprefix("Basic "))
    assert pair == f"tieline:{KEY}".encode()


def test_by_token_the_metadata_tell_where_the_root_is_asked():
    mailchimp, transport = api(metadata(f"{HOST}/"), root(), base_url=SIGN_IN, access_token=TOKEN)
    found = account.identify_by_token(mailchimp)
    assert (found.id, found.base_url) == ("8d3a3db4d97663a9074efcc16", HOST)
    (_, first, signed, _), (_, second, sent, _) = transport.asked
    assert (first, signed["Authorization"]) == (f"{SIGN_IN}/oauth2/metadata", f"OAuth {TOKEN}")
    assert second.startswith(f"{HOST}/3.0/?")
    assert sent["Authorization"] == f"Bearer {TOKEN}"


def test_a_connection_that_was_identified_is_asked_at_its_host():
    mailchimp, transport = api(root(), access_token=TOKEN)
    account.identify_by_key(mailchimp)
    assert transport.asked[0][1].startswith(f"{HOST}/3.0/")


def test_behind_a_proxy_everything_is_asked_there():
    proxy = "https://proxy.example.com"
    mailchimp, transport = api(
        metadata(), root(), base_url=proxy, is_redirected=True, access_token=TOKEN
    )
    assert account.identify_by_token(mailchimp).base_url == proxy
    assert [url.partition("?")[0] for _, url, _, _ in transport.asked] == [
        f"{proxy}/oauth2/metadata",
        f"{proxy}/3.0/",
    ]


METADATA = {
    "dead token": (answer(200, {"error": "invalid_token"}), NeedsReauthError),
    "odd error": (answer(200, {"error": {"code": 1}}), NeedsReauthError),
    "an echo": (answer(200, {"error": f"no {TOKEN}"}), NeedsReauthError),
    "trouble of theirs": (answer(200, {"error": "server_error"}), ProviderUnavailableError),
    "neither": (answer(200, {"dc": "us6"}), ProviderUnavailableError),
    "an endpoint of no text": (answer(200, {"api_endpoint": 5}), ProviderUnavailableError),
    "html": (answer(200, b"<html>"), ProviderUnavailableError),
    "list": (answer(200, []), ProviderUnavailableError),
    "401": (answer(401, {"error": "invalid_token"}), NeedsReauthError),
    "403 bare": (answer(403), RateLimitedError),
    "429": (answer(429), RateLimitedError),
    "503": (answer(503, b"<html>"), ProviderUnavailableError),
    "lost": (ProviderUnavailableError("cut off"), ProviderUnavailableError),
}


@pytest.mark.parametrize("case", METADATA)
def test_every_answer_of_the_metadata_says_what_happens_next(case):
    reply, expected = METADATA[case]
    mailchimp, transport = api(reply, base_url=SIGN_IN, access_token=TOKEN)
    with pytest.raises(contract.ProviderError) as caught:
        account.identify_by_token(mailchimp)
    assert type(caught.value) is expected
    assert TOKEN not in caught.value.message
    assert len(transport.asked) == 1


def test_the_token_is_read_anew_at_each_call():
    tokens = iter(["first", "second"])
    transport = Answers(root(), root())
    connection = Connection(
        id="con_1", name="n", provider="mailchimp", environment="production", base_url=HOST
    )
    credential = Credential({"access_token": "old"}, lambda: {"access_token": next(tokens)})
    mailchimp = MailchimpApi(connection, credential, transport)
    account.identify_by_key(mailchimp)
    account.identify_by_key(mailchimp)
    sent = [headers["Authorization"] for _, _, headers, _ in transport.asked]
    assert sent == ["Bearer first", "Bearer second"]


def test_addresses_and_parameters_go_out_as_they_were_meant():
    """The SDK puts its data centre in place of "server" and writes True as True."""
    mailchimp, transport = api(answer(200, {}), answer(204), base_url="https://server.example.com")
    lists = ListsApi(mailchimp.root().api_client)
    reply = mailchimp.ask(lists.get_list_members_info, "server1", vip_only=True, fields=["a", "b"])
    assert reply.content == b"{}"
    sent = mailchimp.ask(lists.update_list_member_tags, "l", "m", {"tags": [{"name": "é"}]})
    assert sent.status == 204
    url = urlsplit(transport.asked[0][1])
    assert url.netloc == "server.example.com"
    assert url.path == "/3.0/lists/server1/members"
    assert parse_qs(url.query) == {"vip_only": ["true"], "fields": ["a,b"]}
    assert json.loads(transport.asked[1][3]) == {"tags": [{"name": "é"}]}


def test_two_accounts_in_one_process_do_not_mix():
    apis = [api(*[root()] * 50, api_key=f"{n}-us{n}") for n in range(8)]
    threads = [
        threading.Thread(target=lambda a=a: [account.identify_by_key(a) for _ in range(50)])
        for a, _ in apis
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, (_, transport) in enumerate(apis):
        sent = {headers["Authorization"] for _, _, headers, _ in transport.asked}
        pair = base64.b64encode(f"tieline:{number}-us{number}".encode()).decode()
        assert sent == {f"Basic {pair}"}


def test_half_of_the_calls_in_flight_are_left_to_others():
    assert tieline_mailchimp.tieline_rate_limits().concurrency == 5
    assert tieline_mailchimp.tieline_rate_limits().rates == ()


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (403, b"", True),
        (403, b"<html>", True),
        (403, b'{"title": "Forbidden", "status": 403}', False),
        (429, b"", None),
        (200, b"{}", None),
    ],
)
def test_a_403_without_a_problem_document_is_throttling(status, content, expected):
    reply = Reply(status=status, headers={}, content=content, seconds=0.1)
    seen = tieline_mailchimp.tieline_observe(reply)
    assert (seen.is_refusal if seen else None) is expected


def code_lines(path: Path) -> int:
    """Count the lines that do something: what is promised or imported does nothing."""
    text = path.read_text()
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines = {
        number
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in silent and token.string
        for number in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(text)):
        if is_silent(node):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def is_silent(node: ast.AST) -> bool:
    """Whether it is an import, a docstring, or the schema of a record or a payload."""
    if isinstance(node, ast.ClassDef):
        return any(isinstance(base, ast.Name) and base.id.endswith("Schema") for base in node.bases)
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text or isinstance(node, (ast.Import, ast.ImportFrom))


def test_what_must_exist_of_the_plugin_is_small():
    folder = Path(tieline_mailchimp.__file__).parent
    assert sum(map(code_lines, folder.glob("*.py"))) <= 600
