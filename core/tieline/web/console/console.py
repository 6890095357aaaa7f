"""The console's routes: sign in, look, press a button, sign out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from urllib.parse import parse_qsl, urlencode

from markupsafe import Markup, escape
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tieline.contract import Secret, TielineError
from tieline.errors import AccessError, DependencyError
from tieline.services import sessions
from tieline.services.installation import Installation
from tieline.services.tokens import TokenRow
from tieline.telemetry import get_logger
from tieline.web.api import OPERATIONS
from tieline.web.api.admission import admit, count_call
from tieline.web.api.crew import Crew
from tieline.web.api.operation import Operation
from tieline.web.api.problems import Problem, problem_of
from tieline.web.bodies import Body, BodyRefused, Room
from tieline.web.console.door import PAGE_HEADERS, Door
from tieline.web.console.facts import FILTERS, Wish, gather, retry_choice
from tieline.web.console.render import render

__all__ = ["ACTIONS", "PATH", "Console"]

_log = get_logger(__name__)

PATH = "/console"
ACTIONS = {
    "start_run": "A run was asked for, unless one was active already.",
    "cancel_run": "The run stops at its next page; what it committed stays.",
    "retry_run": "The run was asked for once more.",
    "retry_runs": "The runs were asked for once more.",
    "pause_connection": "The connection rests until it is resumed.",
    "resume_connection": "The connection goes on where it was.",
    "test_connection": "The provider answered: the credential is good.",
    "reset_breaker": "Calls pass again.",
    "replay_events": "The events are handled once more.",
    "retry_dead_letter": "What was given up is tried once more.",
}
"""The operations that have a button, and what is said once one was pressed."""

_OPERATIONS = {operation.name: operation for operation in OPERATIONS if operation.name in ACTIONS}
_STATIC = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_LARGEST_FORM = 16_384
_MOST_FIELDS = 50

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Visit:
    """One request, read whole.

    Attributes:
        request: Its head; the body is in ``form``.
        shown: What the browser keeps of its session.
        form: What was sent.
    """

    request: Request
    shown: str
    form: Pairs = ()

    def field(self, name: str) -> str:
        """Return a field of the form; empty if it is not there."""
        return next((text for each, text in self.form if each == name), "")

    @property
    def asked(self) -> dict[str, str]:
        """Which part of the page is meant."""
        return _kept(self.request.query_params.multi_items())


Work = Callable[[_Visit], Response]


class Console:
    """Answers at ``/console``.

    Args:
        installation: Where.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._door = Door(installation.settings.public_url)
        self._room = Room()

    @cached_property
    def _crew(self) -> Crew:
        return Crew("console", max(2, self._installation.settings.api_threads // 4))

    @cached_property
    def _asking_crew(self) -> Crew:
        """Works on what asks a provider, so that a slow one keeps nobody from looking."""
        return Crew("console-asking", 2)

    def routes(self) -> list[Route]:
        """Return a route for each path; HEAD is for nobody, so that a look uses nothing up."""
        found = [
            self._route("", "GET", self._show),
            self._route("/sign-in", "GET", self._ask_in),
            self._route("/sign-in", "POST", self._sign_in),
            self._route("/enter/{code}", "GET", self._ask_enter),
            self._route("/enter/{code}", "POST", self._enter),
            self._route("/sign-out", "POST", self._sign_out),
            self._route("/do/{operation}", "POST", self._act),
        ]
        return [*found, Route(f"{PATH}/static/{{name}}", self._file, methods=["GET"])]

    def _route(self, path: str, method: str, work: Work) -> Route:
        async def answer(request: Request) -> Response:
            try:
                return await self._answered(request, work)
            except Problem as problem:
                return _refused(problem)

        route = Route(PATH + path, answer, methods=[method])
        assert route.methods is not None
        route.methods.discard("HEAD")
        return route

    async def _answered(self, request: Request, work: Work) -> Response:
        self._door.require_host(request)
        form: Pairs = ()
        if request.method == "POST":
            self._door.require_own_form(request)
            form = await self._form(request)
        visit = _Visit(request=request, shown=self._door.read(request), form=form)
        operation = _OPERATIONS.get(request.path_params.get("operation", ""))
        crew = self._asking_crew if operation and operation.asks_provider else self._crew
        deadline_s = self._installation.settings.api_deadline_s
        return await crew.answer(lambda: _guarded(work, visit), deadline_s)

    async def _form(self, request: Request) -> Pairs:
        body = Body(request, _LARGEST_FORM, self._room)
        try:
            raw = await body.read()
            return parse_qsl(
                raw.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"
            )
        except BodyRefused as refused:
            raise Problem(
                refused.status, f"body-{refused.reason}", "the form was not read"
            ) from None
        except (ClientDisconnect, ValueError):
            raise Problem(400, "body-malformed", "this is no form") from None
        finally:
            body.release()

    # --- who it is --------------------------------------------------------------------------

    def _ask_in(self, _visit: _Visit) -> Response:
        return render("sign_in.html", {"trouble": ""})

    def _sign_in(self, visit: _Visit) -> Response:
        """Begin a session of a token; a wrong one is refused as the API refuses it."""
        try:
            secret = sessions.sign_in(self._installation, visit.field("token"))
        except AccessError as error:
            wait_s = self._count_wrong(visit)
            headers = {"Retry-After": str(wait_s)} if wait_s else {}
            status = 429 if wait_s else 401
            return render(
                "sign_in.html", {"trouble": error.message}, status=status, headers=headers
            )
        return self._let_in(visit, secret)

    def _count_wrong(self, visit: _Visit) -> int:
        """Return for how long whoever shows wrong tokens should wait; 0: they need not.

        A right one is taken all the same: nobody guesses one, and behind a proxy
        all come from one address.
        """
        client = visit.request.client
        try:
            turn = self._installation.sign_in_limit.take(f"console:{client.host if client else ''}")
        except DependencyError:
            return 0
        return 0 if turn.is_allowed else max(1, round(turn.resets_in_s))

    def _ask_enter(self, visit: _Visit) -> Response:
        """Say whom a link signs in as; a press of a button does it, so that no preview does."""
        row = sessions.who_follows(self._installation, visit.request.path_params["code"])
        return render("enter.html", {"token": row})

    def _enter(self, visit: _Visit) -> Response:
        code = visit.request.path_params["code"]
        return self._let_in(visit, sessions.follow_link(self._installation, code))

    def _let_in(self, visit: _Visit, secret: Secret) -> Response:
        if visit.shown:  # whose ever it was, it is not gone on with
            sessions.sign_out(self._installation, visit.shown)
        answer = _go(PATH)
        self._door.give(visit.request, answer, secret)
        return answer

    def _sign_out(self, visit: _Visit) -> Response:
        self._door.require_form_token(visit.shown, visit.field("form_token"))
        sessions.sign_out(self._installation, visit.shown)
        answer = _go(f"{PATH}/sign-in")
        self._door.take_back(visit.request, answer)
        return answer

    # --- what is done -----------------------------------------------------------------------

    def _show(self, visit: _Visit) -> Response:
        try:
            row = sessions.who_is(self._installation, visit.shown)
        except AccessError:
            return _go(f"{PATH}/sign-in")
        count_call(self._installation, row, only_reads=True)
        wish = Wish(installation=self._installation, token=row, asked=visit.asked)
        query = visit.request.query_params
        is_asking = query.get("confirm") == "retry"
        facts = {
            **gather(wish),
            "confirm": retry_choice(wish) if is_asking else None,
            "done": ACTIONS.get(query.get("done", ""), ""),
            "form_token": sessions.form_token(visit.shown),
            "back": escape(urlencode(visit.asked)),
            "link": _linker(visit.asked),
        }
        return render("console.html", facts)

    def _act(self, visit: _Visit) -> Response:
        """Press a button: the API's operation, with the API's checks, as the session's token."""
        operation = _OPERATIONS.get(visit.request.path_params["operation"])
        if operation is None:
            raise Problem(404, "not-found", "there is no such button")
        row = sessions.who_is(self._installation, visit.shown)
        self._door.require_form_token(visit.shown, visit.field("form_token"))
        count_call(self._installation, row, only_reads=False)
        given = [
            *visit.request.query_params.multi_items(),
            *((name, text) for name, text in visit.form if name not in {"form_token", "back"}),
        ]
        self._do(operation, row, given)
        back = _kept(parse_qsl(visit.field("back")))
        return _go(f"{PATH}?{urlencode({**back, 'done': operation.name})}")

    def _do(self, operation: Operation, row: TokenRow, given: Pairs) -> None:
        in_path = re.findall(r"{(\w+)}", operation.path)
        path = {name: text for name, text in given if name in in_path}
        if missing := [name for name in in_path if name not in path]:
            raise Problem(422, "invalid-input", f"{missing[0]}: is missing")
        body = [(name, text) for name, text in given if name not in {*in_path, "count"}]
        if operation.name == "retry_runs":
            self._require_counted(operation, row, given, body)
        operation.does(admit(self._installation, operation, row, path=path, body=body))

    def _require_counted(
        self, operation: Operation, row: TokenRow, given: Pairs, body: Pairs
    ) -> None:
        """Refuse to do to many what whoever pressed had not seen the number of.

        Raises:
            Problem: There are more or fewer by now.
        """
        dry = [*body, ("dry_run", "true")]
        call = admit(self._installation, operation, row, path={}, body=dry)
        count = operation.does(call)["count"]
        if dict(given).get("count") != str(count):
            raise Problem(
                409, "changed", f"{count} runs match by now", hint="look again, and decide anew"
            )

    def _file(self, request: Request) -> Response:
        """Answer with one of our own files; they tell no more than the source does."""
        name = request.path_params["name"]
        if name not in _STATIC:
            return _refused(Problem(404, "not-found", "there is no such file"))
        raw = files("tieline.web.console").joinpath("static", name).read_bytes()
        tag = f'"{hashlib.blake2b(raw, digest_size=12).hexdigest()}"'
        headers = {**PAGE_HEADERS, "Cache-Control": "no-cache", "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(raw, headers=headers, media_type=_STATIC[name])


def _guarded(work: Work, visit: _Visit) -> Response:
    """Answer in a thread; every refusal is a page too."""
    try:
        return work(visit)
    except Problem as problem:
        return _refused(problem)
    except TielineError as error:
        return _refused(problem_of(error))
    except Exception:  # noqa: BLE001 - whatever broke, the answer has our form
        _log.exception("a bug of ours", page=visit.request.url.path.split("/")[1:3])
        return _refused(Problem(500, "bug", "this is a fault of Tieline's; its log says more"))


def _refused(problem: Problem) -> Response:
    headers = {name: text for name, text in problem.headers.items() if name == "Retry-After"}
    return render("refused.html", {"problem": problem}, status=problem.status, headers=headers)


def _go(address: str) -> Response:
    return RedirectResponse(address, status_code=303, headers=PAGE_HEADERS)


def _kept(pairs: Pairs) -> dict[str, str]:
    return {name: text[:600] for name, text in pairs if name in FILTERS and text}


def _linker(asked: Mapping[str, str]) -> Callable[..., Markup]:
    """Return what makes an address of the page: as it is asked for now, but for what is given."""

    def link(**other: str) -> Markup:
        query = urlencode({name: text for name, text in {**asked, **other}.items() if text})
        return escape(f"{PATH}?{query}" if query else PATH)

    return link
