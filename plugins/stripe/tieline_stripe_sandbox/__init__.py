"""A Stripe account on this machine, for development, tests and benchmarks.

:func:`create_app` makes an ASGI application that answers as api.stripe.com does
for customers, products, subscriptions, charges, events, webhook endpoints and the
account, and as connect.stripe.com does for OAuth: same paths, parameters, paging,
error bodies, idempotency and limits. Events are delivered to the endpoints over
HTTP, signed with the machine's own time: receivers compare it with theirs. It
imports neither Tieline, nor its plugin, nor Stripe's SDK, so that a mistake has
to be made twice to stay unseen.

Beside the API there is a control surface in plain JSON, without a key:

``GET /_sandbox/``
    Facts: account, seed, counts, clock, the kinds of faults, the platform's
    ``client_id`` and ``accounts``: those that can be connected, ``[{"id", "name"}]``.
``GET /_sandbox/guide``
    How all of this is used by programs that try a client: see ``guide``.
``GET /_sandbox/log?after=N``
    ``{"total", "requests": [{"number", "accepted_ms", "answered_ms", "method",
    "path", "query", "status", "request_id"}]}``: what was answered, in order.
    ``status`` 0: the connection was closed. Control requests are not in it, and
    secrets of OAuth are cut out of ``query``.
``GET /_sandbox/truth?entity=NAME&after=ID&ids_only=true``
    What is live of an entity (customers, unless named) as JSON lines
    ``{"id", "object"}``, oldest first; what belongs to test clocks is left out,
    as in lists. Subscriptions have all of their items. It is streamed: don't
    change the account meanwhile.
``POST /_sandbox/objects``
    ``{"entity", "id", "fields", "delete", "event"}``: makes one object, or
    changes or deletes that of ``id``; see :class:`~.stock.Order`. ``event`` null
    writes no event, other than the usual one can be named. Answers ``{"id"}``.
``POST /_sandbox/mutate``
    ``{"entity": NAME, "create": n, "update": n, "delete": n, "seed": s}``:
    changes with events, of customers unless another entity is named. Charges are
    never deleted, and a subscription that is deleted was cancelled. Answers
    ``{"created": [ids], "updated": [ids], "deleted": [ids]}``.
``POST /_sandbox/faults``, ``GET /_sandbox/faults``
    A list of :class:`~tieline_stripe_sandbox.faults.Fault` as JSON objects; it
    replaces the script, ``[]`` clears it. Answers
    ``[{"fault": {…}, "matched": n}]``.
``POST /_sandbox/clock``, ``GET /_sandbox/clock``
    ``{"now": epoch seconds, "advance_s": seconds, "frozen": bool}``, each
    optional; never back. Answers ``{"now", "frozen"}``.
``GET /_sandbox/oauth?grant=ID``
    ``{"token_calls", "refreshes", "max_in_flight", "consent", "login_as",
    "grants": [{"id", "account", "state", "scope", "refreshes", "refused",
    "reuse", "max_in_flight", "access_token", "refresh_token"}]}``: calls of the
    token endpoint that were carried out, how many of them were under way at
    once, and what they gave. ``state`` is live, revoked or reused.
``POST /_sandbox/oauth``
    ``{"consent": "auto" | "deny" | "page", "login_as": index of an account,
    "revoke": id of an account or a grant, "grant": {"account": index,
    "scopes": ["read_only" | "read_write"]}}``, each optional. ``revoke`` is the
    owner who takes access away. ``grant`` makes a grant without a browser and
    answers as the token endpoint does; otherwise ``{"consent", "login_as"}``.

``GET /_sandbox/webhooks?after=N``
    ``{"endpoints": [as the API shows them, with "account", "connect" and "secrets"],
    "manner", "waiting", "total", "deliveries": [{"number", "event", "type",
    "endpoint", "account", "url", "attempt", "is_copy", "status", "error"}]}``: what
    was delivered, in the order of the answers. ``status`` 0: none came.
``POST /_sandbox/webhooks``
    How deliveries leave from now on, see :class:`~.courier.Manner`: ``{"hold",
    "shuffle", "delay_s", "duplicate", "drop", "skew_s", "sign_by", "retry_s",
    "timeout_s", "seed"}``, each optional; ``{"hold": true}`` and later ``{"hold":
    false, "shuffle": true}`` let events arrive in disorder. Beside that ``resend``
    delivers an event of an id once more, to all who want it, or ``to`` an
    endpoint; ``roll`` gives an endpoint a new secret, while the one before signs
    too for ``overlap_s``, a day unless named; ``flush`` waits until nothing is due.
    Answers ``{"manner", "waiting"}``, with ``"secret"`` or ``"sent"``.

Mistakes are answered with 400 and ``{"error": text}``.

Keys: any ``sk_test_…`` or ``rk_test_…``; ``…_expired…`` is expired; restricted
keys ending in ``_noread``, ``_nowrite``, ``_noevents``, ``_nowebhooks``,
``_nocharges`` or ``_nosubscriptions`` lack these rights. They
belong to the platform's own account.

Connect: the platform is ``ca_TielineSandboxApplication0000001`` with the secret
key ``sk_test_51TielineSandboxPlatform`` unless options say otherwise. That key
and ``Stripe-Account`` open a connected account, which has an id and a name of
its own and shows the same customers; without write access in scope
``read_only``. Access tokens open their account too. Idempotency keys and rates
are the platform's: connected accounts have none of their own. A live key at
the token endpoint is refused as one of the wrong mode. Events tell when access
begins and ends.

The indices of awkward customers are listed in ``edges``.
"""

from tieline_stripe_sandbox.app import create_app

__all__ = ["create_app"]
