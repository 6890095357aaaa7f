"""One call to a token endpoint: written in the provider's words, its answer read.

No retry and no storing here: :mod:`tieline.auth.refresh` decides both.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from urllib.parse import urlencode

import orjson

from tieline.contract import (
    Connection,
    NeedsReauthError,
    OAuth2,
    OutcomeUnknownError,
    ProviderUnavailableError,
    RateLimitedError,
    Reply,
    RequestRejectedError,
    Secret,
    SettingsError,
    parse_json,
    retry_after,
)
from tieline.settings import Application
from tieline.telemetry import remember, tellable
from tieline.telemetry.redact import is_secret_name
from tieline.transport import HttpTransport, Limits

__all__ = ["Grant", "TokenEndpoint"]

_BODY_BYTES = 1_000_000
_LONGEST_TOKEN = 16_384
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Only these are secrets: an account's id or a redirect address must go on being readable.
_SECRETS = frozenset({"access_token", "code", "code_verifier", "refresh_token"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """What a token endpoint gave.

    Attributes:
        fields: Of the credential: tokens, and what the declaration keeps.
        scopes: The rights given; None if the answer does not say.
        access_expires_at: When the access token ends, aware UTC; None: never.
        refresh_expires_at: When the refresh token ends; None: never, or not told.
    """

    fields: Mapping[str, str]
    scopes: tuple[str, ...] | None
    access_expires_at: datetime | None
    refresh_expires_at: datetime | None


class TokenEndpoint:
    """Where one application exchanges, refreshes and revokes at one provider.

    Args:
        title: The provider's name for people.
        oauth: What its plugin declares.
        connection: Whose tokens; tells where the addresses are called.
        application: Who asks.
        call_s: Longest time that a call may take, in seconds.
    """

    def __init__(
        self,
        title: str,
        oauth: OAuth2,
        connection: Connection,
        application: Application,
        *,
        call_s: float,
    ) -> None:
        self._title = title
        self._oauth = oauth
        self._connection = connection
        self._application = application
        self._call_s = call_s

    def exchange(
        self,
        code: Secret,
        *,
        redirect_uri: str,
        verifier: Secret | None,
        given: Mapping[str, str],
        now: datetime,
    ) -> Grant:
        """Exchange an authorization code.

        Args:
            code: As it came with the browser.
            redirect_uri: The one that the authorize address had.
            verifier: Of PKCE; None where it was not used.
            given: Parameters that came with the code.
            now: When the call begins, aware UTC.

        Raises:
            NeedsReauthError: The code is refused: used, expired, another's.
            SettingsError: The application is refused.
            ProviderUnavailableError: No usable answer.
            OutcomeUnknownError: The answer was lost.
            RequestRejectedError: Any other refusal, or a promised field is missing.
        """
        asked = {"grant_type": "authorization_code", "code": code.reveal()}
        if self._oauth.repeats_redirect:
            asked["redirect_uri"] = redirect_uri
        if verifier is not None:
            asked["code_verifier"] = verifier.reveal()
        return self._grant(self._ask(asked), now, given=given, is_new=True)

    def refresh(self, token: Secret, *, now: datetime) -> Grant:
        """Exchange a refresh token; the answer may lack a new one.

        Raises:
            NeedsReauthError: The grant is gone.
            SettingsError: The application is refused.
            ProviderUnavailableError: No usable answer, such as a 5xx.
            OutcomeUnknownError: The answer was lost; the token may be used up.
            RequestRejectedError: Any other refusal.
        """
        asked = {"grant_type": "refresh_token", "refresh_token": token.reveal()}
        return self._grant(self._ask(asked), now, given={}, is_new=False)

    def read(self, answer: Mapping[str, Any], *, now: datetime, given: Mapping[str, str]) -> Grant:
        """Read a first answer of the endpoint that somebody has at hand.

        Raises:
            OutcomeUnknownError: It has no access token.
            RequestRejectedError: A promised field is missing.
        """
        return self._grant(answer, now, given=given, is_new=True)

    def revoke(self, fields: Mapping[str, str]) -> bool:
        """Give access back.

        Args:
            fields: Of the credential.

        Returns:
            False where the provider has no way to.

        Raises:
            ProviderError: It was not done.
        """
        revocation = self._oauth.revocation
        if revocation is None or not (
            self._application.client_secret or revocation.client_auth == "body"
        ):
            return False
        known = {**fields, "client_id": self._application.client_id}
        given = {name: known[field] for name, field in revocation.fields.items() if field in known}
        for field in _SECRETS & known.keys():
            remember(known[field])
        reply = self._send(
            revocation.url,
            given,
            client_auth=revocation.client_auth,
            encoding=revocation.encoding,
            extra={},
        )
        is_gone = revocation.is_gone or (lambda _status, _words: False)
        if not 200 <= reply.status < 300 and not is_gone(reply.status, _said(reply)[1]):
            try:
                self._refuse(reply)
            except NeedsReauthError:
                pass  # it was gone already
        return True

    def _ask(self, asked: Mapping[str, str]) -> Mapping[str, Any]:
        reply = self._send(
            self._oauth.token_url,
            asked,
            client_auth=self._oauth.client_auth,
            encoding=self._oauth.encoding,
            extra=self._oauth.token_headers,
        )
        if not 200 <= reply.status < 300:
            self._refuse(reply)
        try:
            body = parse_json(reply.content)
        except ProviderUnavailableError:
            body = None
        if not isinstance(body, Mapping):
            raise OutcomeUnknownError(f"{self._title}'s token endpoint gave what is no JSON object")
        if body.get("error") or body.get("errors"):
            self._refuse(reply)
        return body

    def _send(
        self,
        url: str,
        asked: Mapping[str, str],
        *,
        client_auth: str,
        encoding: str,
        extra: Mapping[str, str],
    ) -> Reply:
        app, secret = self._application, self._application.client_secret.reveal()
        for text in (*(asked[name] for name in _SECRETS & asked.keys()), secret):
            remember(text)
        headers, body = {"Accept": "application/json", **extra}, dict(asked)
        if client_auth == "basic" and secret:
            pair = b64encode(f"{app.client_id}:{secret}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
            remember(pair)
        elif client_auth == "bearer":
            headers["Authorization"] = f"Bearer {secret}"
        elif client_auth == "client":
            headers["Authorization"] = f"Client {secret}"
        else:
            body["client_id"] = app.client_id
            if secret:
                body["client_secret"] = secret
        if encoding == "json":
            headers["Content-Type"] = "application/json"
            content = orjson.dumps(body)
        else:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            content = urlencode(body).encode()
        address = self._connection.address(url)
        transport = HttpTransport(
            connection_id=self._connection.id,
            origins=[address],
            limits=Limits(deadline_s=self._call_s, body_bytes=_BODY_BYTES, connections=1),
            allows_private=self._connection.is_redirected,
        )
        try:
            return transport.send("POST", address, headers=headers, content=content)
        except ProviderUnavailableError as error:
            raise OutcomeUnknownError(
                f"{self._title}'s token endpoint: {error.message}", hint=error.hint
            ) from None
        finally:
            transport.close()

    def _refuse(self, reply: Reply) -> NoReturn:
        code, words = _said(reply)
        told = f"{self._title} answered {reply.status}" + (f": {words}" if words else "")
        if reply.status == 429:
            raise RateLimitedError(told, retry_after=retry_after(reply.headers))
        if reply.status >= 500:
            raise ProviderUnavailableError(told, retry_after=retry_after(reply.headers))
        if code in self._oauth.refused:
            raise NeedsReauthError(told)
        name = f"TIELINE_{self._connection.provider.upper()}"
        if code in self._oauth.client_refused:
            raise SettingsError(
                f"{told}: it does not know this application",
                hint=f"check {name}_CLIENT_ID, {name}_CLIENT_SECRET and {name}_ENVIRONMENT",
                code="application-refused",
            )
        if not code:
            raise ProviderUnavailableError(f"{told} without saying why")
        raise RequestRejectedError(told, hint=f"check {name}_REDIRECT_URI and the scopes")

    def _grant(
        self,
        body: Mapping[str, Any],
        now: datetime,
        *,
        given: Mapping[str, str],
        is_new: bool,
    ) -> Grant:
        oauth = self._oauth
        fields = {
            name: text
            for name in ("access_token", "refresh_token")
            if name not in oauth.discard and (text := _token(body.get(name)))
        }
        if "access_token" not in fields and "access_token" not in oauth.discard:
            raise OutcomeUnknownError(f"{self._title}'s token endpoint gave no access token")
        told = [(name, field, body.get(name)) for name, field in oauth.keep.items()]
        told += [(name, field, given.get(name)) for name, field in oauth.keep_redirect.items()]
        for name, field, value in told:
            if text := _text(value):
                fields[field] = text
            elif is_new:
                raise RequestRejectedError(
                    f"{self._title} named no {name}, which is needed to call it"
                )
        for name, text in fields.items():
            if name in _SECRETS or is_secret_name(name):
                remember(text)
        deadlines = [_time(body.get(name), now) for name in oauth.refresh_deadlines]
        return Grant(
            fields=fields,
            scopes=_scopes(body.get("scope", body.get("scopes"))),
            access_expires_at=self._access_end(body, now),
            refresh_expires_at=min((time for time in deadlines if time), default=None),
        )

    def _access_end(self, body: Mapping[str, Any], now: datetime) -> datetime | None:
        if "access_token" in self._oauth.discard:
            return None
        told = (_time(body.get("expires_in"), now), _time(body.get("expires_at"), _EPOCH))
        ends = [time for time in told if time]
        if ends:
            return min(ends)
        lifetime = self._oauth.access_lifetime
        return now + lifetime if lifetime else None


def _text(value: object) -> str:
    """Return a field's text; empty for what can be none."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    text = str(value)
    return text if len(text) <= _LONGEST_TOKEN and text.isprintable() else ""


def _token(value: object) -> str:
    """Return a token's text; empty for what no header can carry."""
    text = _text(value)
    return text if text.isascii() and " " not in text else ""


def _scopes(value: object) -> tuple[str, ...] | None:
    words = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(words, Sequence):
        return None
    return tuple(tellable(word) for word in words if isinstance(word, str))[:200]


def _time(value: object, since: datetime) -> datetime | None:
    """Read seconds since a time, or ISO 8601 with its zone; None for anything else."""
    try:
        if isinstance(value, str) and not value.isdecimal():
            time = datetime.fromisoformat(value)
            return time.astimezone(UTC) if time.tzinfo else None
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            return since + timedelta(seconds=float(value)) if float(value) > 0 else None
    except (ValueError, OverflowError):
        pass
    return None


def _said(reply: Reply) -> tuple[str, str]:
    """Find code and words of an error, in any of the shapes that token endpoints use."""
    try:
        body = parse_json(reply.content)
    except ProviderUnavailableError:
        return "", ""
    if not isinstance(body, Mapping):
        return "", ""
    errors = body.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else body.get("error")
    nested = first if isinstance(first, Mapping) else {}
    code = next(
        filter(None, map(_text, (body.get("error"), nested.get("code"), nested.get("type")))),
        _text(body.get("type")),
    )
    said = (body.get("error_description"), nested.get("detail"), nested.get("message"))
    words = next(filter(None, map(_text, said)), _text(body.get("message")))
    return code, tellable(": ".join(part for part in (code, words) if part))
