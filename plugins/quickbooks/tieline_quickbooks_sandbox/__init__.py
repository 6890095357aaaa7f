"""QuickBooks companies on this machine, for development, tests and benchmarks.

:func:`create_app` makes an ASGI application that answers as Intuit's hosts do:
consent, tokens, revocation, discovery, what a company's customers and invoices
are, and writes of customers. All of Intuit's addresses are at the one base
address, each at its own path. It imports neither Tieline, nor its plugin, nor an
SDK, so that a mistake has to be made twice to stay unseen.

``GET /connect/oauth2``
    Consent. ``scope``, ``client_id``, ``redirect_uri`` and ``response_type``
    are checked; the browser comes back with ``code``, ``state`` and ``realmId``.
``POST /oauth2/v1/tokens/bearer``
    Codes and refresh tokens for tokens, with Basic authentication.
``POST /v2/oauth2/tokens/revoke``
    Ends a grant by any of its tokens.
``GET /v3/company/{realm}/companyinfo/{realm}``
    Whose company it is.
``POST /v3/company/{realm}/query`` (or ``GET …?query=``)
    The query language, as far as :mod:`~tieline_quickbooks_sandbox.query` has it.
    Inactive customers are hidden unless the query names ``Active``; rows that
    are alike in all that they are sorted by come in another order each time.
``GET /v3/company/{realm}/cdc?entities=Customer,Invoice&changedSince=TIME``
    What changed, the oldest change first and deletions last: 30 days back, 1,000
    objects in all.
``GET /v3/company/{realm}/customer/{id}`` and ``…/invoice/{id}``
    One object as it is now.
``POST /v3/company/{realm}/customer?requestid=ID``
    A new customer, or with ``Id`` and ``SyncToken`` a change of one: sparse, or
    whole, which empties what it does not name. A name is one customer's,
    vendor's or employee's alone, inactive or not, in any case. None is deleted:
    ``Active`` false makes it inactive, and adds `` (deleted)`` to its names. A
    ``requestid`` that was answered is answered so again, whatever the body is.
``POST /v3/company/{realm}/batch``
    Up to 30 such writes, each for itself; the answers come in any order. There
    are no queries in it.
``GET /.well-known/openid_configuration`` (and ``openid_sandbox_configuration``)
    The addresses above.

Refresh tokens follow one of three rules:

``daily``
    Intuit's habit and the default: the value stays the same for 24 hours; the
    first refresh after that brings a new one, and the old one is taken for 24
    hours more.
``strict``
    Each refresh brings a new value; the old one ends at once, and whoever uses
    it ends the whole grant.
``grace``
    As ``strict``, but for ``grace_s`` seconds more the old value is answered
    with the present pair of tokens.

Intuit documents no lifetime of a code: here it is ten minutes, and a second
exchange ends what the first one gave. Who connects a company again ends the
old grant of that company as soon as the new code is exchanged.

Beside the API there is a control surface in plain JSON, without a key:

``GET /_sandbox/``
    Facts: accounts (index, id, name), seed, client id, clock, kinds of faults.
``GET /_sandbox/oauth?grant=ID``
    What happened: ``{"token_calls", "refreshes", "max_in_flight", "grants":
    [{"id", "account", "scopes", "state", "refreshes", "refused", "reuse",
    "max_in_flight", "access_token", "refresh_token"}]}``, oldest grant first;
    ``grant`` leaves the others out. ``token_calls`` were carried out, refused
    ones among them; ``max_in_flight`` is the most token calls under way at
    once. ``state`` is ``live``, ``revoked``, or ``reused`` for a grant that
    ended because a dead token or a used code was presented. ``reuse`` counts
    refresh tokens presented that were no longer the newest.
``POST /_sandbox/oauth``
    Orders, each optional: ``{"consent": "auto" | "deny" | "page", "login_as":
    index of the account for the next consents, "rotation": "daily" | "strict" |
    "grace", "grace_s": seconds, "lost_rights": [indices of accounts whose
    connecting user has lost the right to them, until somebody connects again],
    "suspended": [indices of accounts whose subscription has ended], "revoke":
    id of a grant or of an account, "grant": {"account": index, "scopes":
    [...]}}``. ``grant`` makes one without a browser; the answer is Intuit's own
    token answer then, else the present rules.
``GET /_sandbox/truth?entity=Customer&account=0``
    All that there is of one kind, inactive ones too, as JSON lines by number.
``POST /_sandbox/mutate``
    ``{"entity": "Customer" | "Invoice", "account": index, VERB: count, ...}``
    changes objects as users do, and answers their numbers by verb. Verbs of
    both: ``create``, ``update``, ``delete``, ``rebalance`` (a new balance and
    time, the same token), ``silent`` (a new balance, and nothing tells of it);
    of customers ``deactivate`` and ``merge``; of invoices ``pay``, ``void`` and ``email``.
``POST /_sandbox/objects``
    ``{"entity", "account", "put": [fields], "plant": [objects], "delete":
    [numbers]}``, each optional: ``put`` makes objects, or changes those whose
    ``Id`` it names; ``plant`` keeps objects as they are given, right or wrong.
``POST /_sandbox/habits``
    ``{"inactive_as": "record" | "deleted", "lag_s": seconds, "remembers_s":
    seconds, "holds_open": bool}``: how the log tells that a customer was made
    inactive, how late queries and the log learn of a change, for how long a
    ``requestid`` is known, and whether an open balance keeps a customer active.
``POST /_sandbox/webhooks``, ``GET /_sandbox/webhooks``
    What people enter in the developer portal, for which Intuit has no API:
    ``{"url": address of the application, or empty to take it away, "token": verifier
    token, or empty for a new one, "entities": {"Customer": ["Create", "Update",
    "Delete", "Merge"], "Invoice": ["Create", "Update", "Delete", "Void", "Emailed"]},
    "form": "cloudevents" | "older"}``; the first address brings a token. Intuit
    takes https alone, here http will do. From then on all changes are delivered
    of companies that are connected: writes over the API, and orders but ``plant``
    and ``silent``. One body may be about several of them. What is not answered
    with 200 in three seconds is sent again, after 0, 10, 20, 30 seconds, 5, 20
    minutes, 2, 4, 6 hours and every 6 hours, of the clock below; all that comes
    later waits for it.
    Rules, each optional too: ``{"held": bool, "shuffle": bool, "duplicate": share,
    "drop": share, "delay_s": seconds, "most": events in a body, "forge": how many of
    the next attempts are signed with another token, "scale": what waits are
    multiplied by, "timeout_s": seconds}``, and ``"resend": [numbers of deliveries]``.
    Answers all of it with ``{"waiting": events, "unanswered": bodies, "lost": events,
    "due": time of the next attempt, or null}``; beyond 10,000 that wait, events are lost.
``GET /_sandbox/deliveries?after=N``
    ``{"total", "deliveries": [{"number", "attempt", "at", "url", "headers", "body",
    "events", "status", "answer", "error", "took_ms"}]}``: the last 1,000 attempts
    and how they were answered. ``status`` 0: not at all, for the reason in ``error``.
``GET /_sandbox/limits``
    By realm ``{"most": {"per_second", "per_minute", "batches_per_minute",
    "at_once"}, "reads", "refused"}``: the most calls that there ever were,
    counted without limits too.
``GET /_sandbox/guide``
    How all of this is used by programs that try a client: see ``guide``.
``GET /_sandbox/log?after=N``
    ``{"total", "requests": [{"number", "accepted_ms", "answered_ms", "method",
    "path", "query", "status", "intuit_tid"}]}``: what was answered, in order.
    ``status`` 0: the connection was closed. Control requests are not in it.
``POST /_sandbox/faults``, ``GET /_sandbox/faults``
    A list of :class:`~tieline_quickbooks_sandbox.faults.Fault` as JSON objects;
    it replaces the script, ``[]`` clears it. Answers
    ``[{"fault": {…}, "matched": n}]``.
``POST /_sandbox/clock``, ``GET /_sandbox/clock``
    ``{"now": epoch seconds, "advance_s": seconds, "frozen": bool}``, each
    optional; never back. Answers ``{"now", "frozen"}``.

Mistakes are answered with 400 and ``{"error": text}``.
"""

from tieline_quickbooks_sandbox.app import create_app

__all__ = ["create_app"]
