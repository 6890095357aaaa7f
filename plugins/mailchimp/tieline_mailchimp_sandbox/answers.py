"""What goes back to the caller: answers, and refusals in Mailchimp's words.

Source: Mailchimp's error glossary for the API (problem documents, the
request's id as ``instance``). Mailchimp does not document the errors of its
OAuth endpoints; they are those of OAuth 2.0 draft 10, which its sample
applications name in their User-Agent: JSON with ``error``, status 400.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import orjson

__all__ = [
    "Answer",
    "Headers",
    "OAuthError",
    "Problem",
    "Refusal",
    "html",
    "invalid",
    "json_answer",
    "redirect",
]

Headers = tuple[tuple[bytes, bytes], ...]

JSON = b"application/json; charset=utf-8"
PROBLEM = b"application/problem+json; charset=utf-8"
HTML = b"text/html; charset=utf-8"
_DESCRIBED = b"https://us1.api.mailchimp.com/schema/3.0/Definitions/ProblemDetailDocument.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer before it goes out; an empty content type is left out."""

    status: int = 200
    body: bytes = b""
    headers: Headers = ()
    content_type: bytes = b""


class Refusal(Exception, ABC):  # noqa: N818 - it is an answer, not a fault of ours
    """An answer that says no."""

    @abstractmethod
    def answer(self, request_id: str) -> Answer:
        """Return it as an answer to the request of that id."""


class Problem(Refusal):
    """A refusal of the API.

    Args:
        status: HTTP status.
        title: The glossary's title, in words.
        detail: The glossary's sentence.
        headers: Further headers of the answer.
        errors: ``field`` and ``message`` of each that was wrong.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        headers: Headers = (),
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(title)
        self.status = status
        self.headers = headers
        self.detail = detail
        self.errors = errors or []
        self._said: dict[str, Any] = {"title": title, "status": status, "detail": detail}
        self._errors = {"errors": errors} if errors else {}

    def answer(self, request_id: str) -> Answer:
        """Return it as a problem document."""
        kind = "https://mailchimp.com/developer/marketing/docs/errors/"
        body = {"type": kind} | self._said | {"instance": request_id} | self._errors
        described = (b"link", b'<%b>; rel="describedBy"' % _DESCRIBED)
        return Answer(
            status=self.status,
            body=orjson.dumps(body),
            headers=(described, *self.headers),
            content_type=PROBLEM,
        )


def invalid(*wrong: tuple[str, str]) -> Problem:
    """Make the refusal of fields, each with what is wrong with it."""
    return Problem(
        400,
        "Invalid Resource",
        "The resource submitted could not be validated. For field-specific details, see the "
        "'errors' array.",
        errors=[{"field": field, "message": message} for field, message in wrong],
    )


class OAuthError(Refusal):
    """A refusal of an OAuth endpoint.

    Args:
        code: Of the draft's codes.
        description: What was wrong.
        status: HTTP status.
    """

    def __init__(self, code: str, description: str, *, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self._said = {"error": code, "error_description": description}

    def answer(self, request_id: str) -> Answer:  # noqa: ARG002 - OAuth errors do not name it
        """Return it as JSON."""
        return json_answer(self._said, status=self.status)


def json_answer(value: Any, *, status: int = 200, headers: Headers = ()) -> Answer:
    """Write a value as JSON."""
    return Answer(status=status, body=orjson.dumps(value), headers=headers, content_type=JSON)


def html(text: str, *, status: int = 200, headers: Headers = ()) -> Answer:
    """Write a page."""
    return Answer(status=status, body=text.encode(), headers=headers, content_type=HTML)


def redirect(url: str) -> Answer:
    """Send the browser elsewhere."""
    return Answer(status=302, headers=((b"location", url.encode()),))
