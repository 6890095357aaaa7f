"""Who comes in at the console, and who does not: sessions, links, forms, hosts, headers."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from console_kit import HERE, browser_of, parsed, signed_in, token_of
from kit import make_bench
from tieline.contract import SettingsError
from tieline.errors import AccessError, InvalidInputError, NotFoundError, RefusedError
from tieline.services import console, sessions, tokens
from tieline.settings import load_settings
from tieline.store import log
from tieline.web import create_app
from tieline.web.console.console import ACTIONS

PUBLIC = "https://tieline.example.com"


@pytest.fixture
def bench(database_url, redis_url, tmp_path):
    made = make_bench(database_url, tmp_path, redis_url=redis_url)
    yield made
    made.installation.close()


@pytest.fixture
def made(bench):
    return bench.installation


@pytest.fixture
def browser(made):
    return browser_of(made)


def stored(made) -> str:
    with made.database.read() as transaction:
        rows = transaction.exec_driver_sql("SELECT * FROM console_sessions").all()
        entries = transaction.exec_driver_sql("SELECT * FROM sync_log").all()
    return repr(rows) + repr(entries)


def is_in(browser) -> bool:
    reply = browser.ask("GET", "/console")
    assert reply.status_code in {200, 303}
    assert reply.status_code == 200 or reply.headers["location"] == "/console/sign-in"
    return reply.status_code == 200


def test_a_token_signs_in_and_a_cookie_stands_for_it(made, browser):
    text = token_of(made, "ada")
    assert not is_in(browser)
    reply = browser.post("/console/sign-in", token=f" {text}\n")
    assert (reply.status_code, reply.headers["location"]) == (303, "/console")
    cookie = reply.headers["set-cookie"]
    assert re.fullmatch(
        r"tieline-console-8377=[\w-]{43}; HttpOnly; Max-Age=43200; Path=/; SameSite=strict", cookie
    )
    page = browser.ask("GET", "/console")
    assert page.status_code == 200
    assert text not in page.text
    assert browser.cookie not in page.text
    assert text not in stored(made)
    assert browser.cookie not in stored(made)


@pytest.mark.parametrize("wrong", ["", "tln_short", "x" * 200, "{other}", "{revoked}", "{over}"])
def test_wrong_tokens_are_refused_alike(bench, made, browser, wrong):
    good = token_of(made, "good")
    token_of(made, "revoked")
    texts = {
        "{other}": good[:-7] + ("y" if good[-7] == "x" else "x") + good[-6:],
        "{revoked}": token_of(made, "gone"),
        "{over}": token_of(made, "late", expires_in="1h"),
    }
    tokens.revoke_token(made, "gone", actor="test")
    bench.clock.move(3601)
    reply = browser.post("/console/sign-in", token=texts.get(wrong, wrong))
    assert reply.status_code == 401
    assert "set-cookie" not in reply.headers
    assert parsed(reply.text).one("p", role="alert").text == "there is no such token, or it is over"


def test_after_five_wrong_tokens_in_a_minute_people_are_told_to_wait_and_a_right_one_is_taken(
    made, browser
):
    text = token_of(made, "ada")
    statuses = [browser.post("/console/sign-in", token="x").status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    reply = browser.post("/console/sign-in", token="x")
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    browser.sign_in(text)


def test_a_session_is_known_to_every_process_that_serves(made):
    first = signed_in(made)
    second = browser_of(made)
    second.client.cookies = first.client.cookies
    assert is_in(second)


def test_a_session_ends_with_its_token(bench, made):
    browser = signed_in(made)
    assert is_in(browser)
    tokens.revoke_token(made, "eyes-admin", actor="test")
    assert not is_in(browser)
    short = browser_of(made).sign_in(token_of(made, "short", expires_in="1h"))
    bench.clock.move(3599)
    assert is_in(short)
    bench.clock.move(2)
    assert not is_in(short)


def test_a_token_is_seen_to_be_used_while_somebody_looks_at_the_console(bench, made):
    browser = signed_in(made)
    bench.clock.move(3600)
    assert is_in(browser)
    [row] = tokens.list_tokens(made)
    assert row.last_used_at == bench.clock.now()


def test_a_session_ends_after_twelve_hours_and_is_forgotten(bench, made):
    browser = signed_in(made)
    bench.clock.move(12 * 3600 - 1)
    assert is_in(browser)
    bench.clock.move(2)
    assert not is_in(browser)
    browser_of(made).sign_in(token_of(made, "next"))
    with made.database.read() as transaction:
        left = transaction.exec_driver_sql("SELECT count(*) FROM console_sessions").scalar()
    assert left == 1


def test_to_sign_out_ends_what_the_browser_kept(made):
    browser = signed_in(made)
    kept = browser.cookie
    page = browser.get()
    form = page.one("form", action="/console/sign-out")
    reply = browser.post("/console/sign-out", form_token=form.one("input").attributes["value"])
    assert reply.status_code == 303
    assert "Max-Age=0" in reply.headers["set-cookie"]
    browser.client.cookies.set("tieline-console-8377", kept, domain="127.0.0.1")
    assert not is_in(browser)


def test_nobody_goes_on_with_a_session_that_was_there_before_they_signed_in(made):
    text = token_of(made, "ada")
    other = signed_in(made)
    planted = other.cookie
    browser = browser_of(made)
    browser.client.cookies.set("tieline-console-8377", planted, domain="127.0.0.1")
    browser.post("/console/sign-in", token=text)
    given = {each.value for each in browser.client.cookies.jar}
    assert len(given - {planted}) == 1
    assert not is_in(other)
    chosen = browser_of(made)
    chosen.client.cookies.set("tieline-console-8377", "a" * 43, domain="127.0.0.1")
    assert not is_in(chosen)


def test_a_link_signs_in_once_and_only_by_a_button(bench, made, browser):
    link = console.link_to(made, HERE, None, actor="cli:ada")
    path = link.removeprefix(HERE)
    code = path.rpartition("/")[2]
    assert code not in stored(made)
    for _ in range(2):  # a preview, and a look
        page = browser.get(path)
        assert page.one("button").text == "Sign in as console"
    assert browser.ask("HEAD", path).status_code == 405
    assert not is_in(browser)
    reply = browser.post(path)
    assert (reply.status_code, reply.headers["location"]) == (303, "/console")
    assert is_in(browser)
    assert browser.post(path).status_code == 401
    assert browser.ask("GET", path).status_code == 401
    with made.database.read() as transaction:
        events = [each["event"] for each in log.newest_entries(transaction, limit=3)]
    assert events == ["console.signed_in", "console.link_made", "token.created"]


@pytest.mark.parametrize(
    "served_at",
    ["", "run_x", "0x10", "ftp://127.0.0.1", "http://example.com", "http://a b", "http://"],
)
def test_a_link_leads_to_an_address_or_is_not_made(made, served_at):
    with pytest.raises(InvalidInputError, match="is no address that a browser finds"):
        console.link_to(made, served_at, None, actor="cli:ada")
    assert tokens.list_tokens(made) == []


def test_a_link_is_good_for_ten_minutes(bench, made, browser):
    code = sessions.make_link(made, None, actor="test").reveal()
    bench.clock.move(601)
    assert browser.post(f"/console/enter/{code}").status_code == 401
    assert not is_in(browser)


def test_of_many_who_follow_a_link_at_once_one_is_let_in(made):
    code = sessions.make_link(made, None, actor="test").reveal()

    def follow(_: int) -> bool:
        try:
            sessions.follow_link(made, code)
        except AccessError:
            return False
        return True

    with ThreadPoolExecutor(8) as crew:
        assert sum(crew.map(follow, range(8))) == 1


def test_a_link_is_no_session_and_a_session_is_no_link(made):
    browser = signed_in(made)
    assert browser.post(f"/console/enter/{browser.cookie}").status_code == 401
    code = sessions.make_link(made, None, actor="test").reveal()
    other = browser_of(made)
    other.client.cookies.set("tieline-console-8377", code, domain="127.0.0.1")
    assert not is_in(other)


def test_a_link_may_sign_in_as_a_token_that_is_named_and_as_none_that_is_over(made, browser):
    token_of(made, "reader", "read")
    path = console.link_to(made, HERE, "reader", actor="test").removeprefix(HERE)
    assert browser.post(path).status_code == 303
    assert "Sign out reader (read)" in browser.get().text
    with pytest.raises(NotFoundError) as unknown:
        sessions.make_link(made, "raeder", actor="test")
    assert "reader" in unknown.value.hint
    sessions.make_link(made, None, actor="test")
    tokens.revoke_token(made, "console", actor="test")
    with pytest.raises(RefusedError) as over:
        sessions.make_link(made, None, actor="test")
    assert over.value.slug == "token-over"


FORGED = {
    "no token": ({}, None),
    "another's token": ({}, "other"),
    "an empty token": ({}, ""),
    "another site, as the browser says": ({"Sec-Fetch-Site": "cross-site"}, "own"),
    "another port of this machine": (
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:9999"}, "own",
    ),
    "another port, as an old browser says": ({"Origin": "http://127.0.0.1:9999"}, "own"),
    "a page of no origin": ({"Origin": "null"}, "own"),
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGED)
def test_no_form_is_taken_that_our_own_page_did_not_send(made, forgery):
    headers, whose = FORGED[forgery]
    browser, other = signed_in(made), signed_in(made, "operate")
    texts = {"own": sessions.form_token(browser.cookie), "other": sessions.form_token(other.cookie)}
    fields = {} if whose is None else {"form_token": texts.get(whose, whose)}
    paths = [f"/console/do/{name}?connection=shop&entity=items" for name in ACTIONS]
    before = stored(made)
    for path in [*paths, "/console/sign-out"]:
        reply = browser.ask("POST", path, data=fields, headers=headers)
        assert reply.status_code == 403, path
        assert "this form did not come from a page of this session" in reply.text
    assert stored(made) == before
    assert is_in(browser)


@pytest.mark.parametrize("path", ["/console/sign-in", "/console/enter/{code}"])
def test_nobody_is_signed_in_by_another_site_s_page(made, browser, path):
    code = sessions.make_link(made, None, actor="test").reveal()
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        fields = {"token": token_of(made, f"t{len(tokens.list_tokens(made))}")}
        reply = browser.ask("POST", path.format(code=code), data=fields, headers=headers)
        assert reply.status_code == 403
        assert "set-cookie" not in reply.headers


def test_no_button_works_for_who_is_not_signed_in(made, browser):
    for name in ACTIONS:
        reply = browser.post(f"/console/do/{name}?connection=shop")
        assert reply.status_code == 401
    assert browser.post("/console/do/create_token").status_code == 404


HOSTS = {
    "127.0.0.1:8377": 303, "localhost": 303, "[::1]:8377": 303, "LOCALHOST:1": 303,
    "evil.example": 421, "127.0.0.1.evil.example": 421, "localhost.evil.example:8377": 421,
    "tieline.example.com": 421, "evil.example:127.0.0.1": 421, "": 421, "127.0.0.1:": 421,
    "@127.0.0.1": 421, "127.0.0.1:999999": 421, "127.0.0.2": 421, "0.0.0.0:8377": 421,
}  # fmt: skip


@pytest.mark.parametrize(("host", "status"), HOSTS.items())
def test_only_names_of_this_machine_are_answered_where_no_address_is_set(browser, host, status):
    assert browser.ask("GET", "/console", headers={"Host": host}).status_code == status


def test_behind_https_the_cookie_is_for_that_host_alone(database_url, redis_url, tmp_path):
    bench = make_bench(database_url, tmp_path, redis_url=redis_url, public_url=PUBLIC)
    browser = browser_of(bench.installation, PUBLIC)
    reply = browser.post("/console/sign-in", token=token_of(bench.installation, "ada"))
    assert re.fullmatch(
        r"__Host-tieline-console=[\w-]{43}; HttpOnly; Max-Age=43200; Path=/; SameSite=strict;"
        r" Secure",
        reply.headers["set-cookie"],
    )
    assert is_in(browser)
    assert browser.ask("GET", "/console", headers={"Host": "evil.example"}).status_code == 421
    # A proxy may call us by another name than people call it.
    assert browser.ask("GET", "/console", headers={"Host": "127.0.0.1:8377"}).status_code == 200
    bench.installation.close()


def test_every_answer_forbids_scripts_frames_and_copies(made, browser):
    code = sessions.make_link(made, None, actor="test").reveal()
    inside = signed_in(made)
    asked = [
        (browser, "GET", "/console"),
        (browser, "GET", "/console/sign-in"),
        (browser, "POST", "/console/sign-in"),
        (browser, "GET", f"/console/enter/{code}"),
        (browser, "GET", "/console/enter/nonsense"),
        (browser, "POST", "/console/do/start_run"),
        (inside, "GET", "/console"),
        (inside, "GET", "/console?state=nonsense"),
        (inside, "GET", "/console/static/console.css"),
        (inside, "GET", "/console/static/secret"),
    ]
    for who, method, path in asked:
        reply = who.ask(method, path)
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert reply.headers["x-frame-options"] == "DENY"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cross-origin-opener-policy"] == "same-origin"
        kept = "no-cache" if reply.headers.get("etag") else "no-store"
        assert reply.headers["cache-control"] == kept, path
        assert not re.search(r"<style|<[^>]+ style=|<[^>]+ on\w+=|javascript:", reply.text), path
        for script in parsed(reply.text).all("script") if "<html" in reply.text else []:
            assert script.attributes["src"].startswith("/console/static/")
            assert script.text == ""


def test_files_are_ours_alone_and_are_sent_once(browser):
    first = browser.ask("GET", "/console/static/console.js")
    again = browser.ask(
        "GET", "/console/static/console.js", headers={"If-None-Match": first.headers["etag"]}
    )
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    for path in ("..%2fconsole.py", "../console.py", "%2e%2e/door.py", "__init__.py"):
        assert browser.ask("GET", f"/console/static/{path}").status_code == 404
    assert "http" not in first.text.replace("http-equiv", "")


def test_there_is_no_console_unless_it_is_turned_on(made):
    import httpx

    from api_kit import Wire
    from console_kit import Browser

    client = httpx.Client(transport=Wire(create_app(made, has_webhooks=False)), base_url=HERE)
    browser = Browser(client)
    for path in ("/console", "/console/sign-in", "/console/static/console.css"):
        assert browser.ask("GET", path).status_code == 404


ON = [
    ({}, False, False),
    ({}, True, True),
    ({"TIELINE_CONSOLE": "1"}, False, True),
    ({"TIELINE_CONSOLE": "false"}, True, False),
    ({"TIELINE_ENV": "production"}, True, False),
    ({"TIELINE_ENV": "production", "TIELINE_CONSOLE": "true"}, False, True),
]


@pytest.mark.parametrize(("environ", "beside_up", "is_on"), ON)
def test_the_console_is_on_where_it_was_wanted_and_beside_up_in_development(
    tmp_path, environ, beside_up, is_on
):
    settings = load_settings({"TIELINE_HOME": str(tmp_path), **environ}, tmp_path)
    assert console.is_on(settings, beside_up=beside_up) is is_on


def test_in_production_the_console_wants_https(tmp_path):
    environ = {"TIELINE_HOME": str(tmp_path), "TIELINE_ENV": "production", "TIELINE_CONSOLE": "1"}
    for address in ("", "http://127.0.0.1:8377"):
        settings = load_settings(environ | {"TIELINE_PUBLIC_URL": address}, tmp_path)
        with pytest.raises(SettingsError) as refused:
            console.require_address(settings)
        assert refused.value.slug == "console-address"
    settings = load_settings(environ | {"TIELINE_PUBLIC_URL": PUBLIC}, tmp_path)
    console.require_address(settings)
    assert console.address_of(settings, HERE, "x") == f"{PUBLIC}/console/enter/x"
