"""Square's OAuth and a few sellers on this machine, for development and tests.

:func:`create_app` makes an ASGI application that answers as
connect.squareupsandbox.com does: ``/oauth2/authorize``, ``/oauth2/token``,
``/oauth2/token/status``, ``/oauth2/revoke``, ``/v2/merchants``,
``/v2/merchants/{id or me}``, ``/v2/locations``, and lists, searches and single
objects of customers, orders, the catalog and payments, and
``/v2/webhooks/subscriptions`` with all that is below it. It imports neither
Tieline, nor its plugin, nor Square's SDK, so that a mistake has to be made twice to
stay unseen.

Events are delivered to the subscriptions that the application made, of sellers who
granted the right to read what they are about: signed with the subscription's key over
its address and the body, in whatever order they arrive, and again after 1, 2, 4, … 32
minutes and then every hour for a day until they are answered with 2xx within ten
seconds. Those times are the sandbox's: advancing its clock makes retries due. A
subscription without any such answer for three weeks is disabled. An address has to
be https, or http on this machine. Changes are those that ``/_sandbox/data`` makes,
and the end of a seller's access. Without a subscription no event is made.

An application with the default ids is registered: ``CLIENT_ID`` and
``CLIENT_SECRET``. ``API_KEY`` is the developer's personal access token; it
opens the first seller's account with every right and never ends.

Both of Square's flows are there. In the code flow the refresh token stays and
may be used as often as you like. With a ``code_challenge`` (PKCE) a refresh
token works once, for 90 days, and each refresh gives a new one. Access tokens
live for 30 days, 24 hours if ``short_lived``; codes for 5 minutes, once.

Beside the API there is a control surface in plain JSON, without a key:

``GET /_sandbox/``
    Facts: sellers, seed, application id, clock, kinds of faults, rotations.
``GET /_sandbox/truth?entity=NAME&account=INDEX``
    What a sync has to end up with, as JSON lines ``{"id", "object"}``: what
    lists show by now or will when their index has caught up. ``entity`` is
    ``customers``, ``orders``, ``catalog`` or ``payments``; ``account`` 0 if left out.
``POST /_sandbox/data``
    ``{"entity", "account", "plant": [objects], "alter": {id: fields}, "remove":
    [ids], "merge": [ids], "create": n, "update": n, "delete": n, "seed": s}``:
    see :class:`~tieline_square_sandbox.changes.Order`. Answers ``{"created":
    [ids], "updated": [ids], "deleted": [ids]}``.
``GET /_sandbox/guide``
    How all of this is used by programs that try a client: see ``guide``.
``GET /_sandbox/log?after=N``
    ``{"total", "requests": [{"number", "accepted_ms", "answered_ms", "method",
    "path", "query", "status"}]}``: what was answered, in order. ``status`` 0:
    the connection was closed. Control requests are not in it; codes and states
    in a query are masked.
``GET /_sandbox/deliveries?after=N``
    ``{"total", "waiting", "in_flight", "lost", "given_up", "handling",
    "deliveries": [{"number", "event_id", "type", "merchant_id", "subscription_id",
    "url", "attempt", "at", "seconds", "status", "reason", "body"}]}``: what was sent
    and how it was answered, the last 5,000. ``status`` 0: there was no answer.
    ``attempt`` counts from 0. All is quiet when ``waiting`` and ``in_flight`` are 0.
``POST /_sandbox/deliveries``
    How events are handled from now on, each optional: ``{"copies": how often each is
    sent, "delay_s": how late, "disorder_s": by chance how much later still, "drop":
    how many more are lost, "hold": whether nothing leaves, "timeout_s": for how long
    an answer is waited for, "seed"}``; and once: ``{"resend": [event ids] or "all"}``,
    as they were, lost ones too. Answers as ``GET`` does.
``POST /_sandbox/faults``, ``GET /_sandbox/faults``
    A list of :class:`~tieline_square_sandbox.faults.Fault` as JSON objects; it
    replaces the script, ``[]`` clears it. Answers
    ``[{"fault": {…}, "matched": n}]``.
``POST /_sandbox/clock``, ``GET /_sandbox/clock``
    ``{"now": epoch seconds, "advance_s": seconds, "frozen": bool}``, each
    optional; never back. Answers ``{"now", "frozen"}``.
``GET /_sandbox/oauth``, ``GET /_sandbox/oauth?grant=ID``
    What really happened: ``{"token_calls", "refreshes", "max_in_flight",
    "grants": [{"id", "account", "flow", "state", "scopes", "refreshes",
    "refused", "reuse", "max_in_flight", "access_token", "refresh_token"}]}``.
    ``token_calls`` counts requests to ``/oauth2/token`` that were carried out,
    ``refreshes`` those that gave new tokens, ``reuse`` used refresh tokens that
    came again, ``max_in_flight`` the most token calls at once. ``state`` is
    ``live``, ``revoked`` or ``reused``; ``account`` a merchant's id.
``POST /_sandbox/oauth``
    Orders, each optional: ``{"consent": "auto" | "deny" | "page", "login_as":
    index of the seller who consents next, "rotation": mode, "grace_s": seconds,
    "revoke": id of a grant or a merchant, "grant": {"account": index, "scopes":
    […], "pkce": bool}}``. Answers the present orders; with ``grant``, Square's
    own token answer of a grant that was made without a browser.

Rotation modes, for grants by PKCE: ``single-use`` (Square's: a used refresh
token is refused, nothing else happens), ``strict`` (a used one ends the whole
grant), ``grace`` (a used one answers with the present tokens for ``grace_s``
more seconds).

Mistakes are answered with 400 and ``{"error": text}``.

What differs from Square, on purpose: without ``redirect_uris`` any https
address and any http one on this machine is taken (Square takes registered ones
only, http for localhost only in its sandbox environment); ``session`` and
``locale`` do nothing; no JWTs and no migration tokens. Where Square publishes
no answer (a used refresh token, an unknown scope, another seller's id), the
nearest documented code is given.
"""

from tieline_square_sandbox.app import create_app
from tieline_square_sandbox.application import API_KEY, CLIENT_ID, CLIENT_SECRET

__all__ = ["API_KEY", "CLIENT_ID", "CLIENT_SECRET", "create_app"]
