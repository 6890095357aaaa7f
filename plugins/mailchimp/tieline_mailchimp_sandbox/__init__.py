"""A Mailchimp on this machine, for development, tests and benchmarks.

:func:`create_app` makes an ASGI application that answers as login.mailchimp.com
and ``<dc>.api.mailchimp.com`` do for connecting accounts, both at one address:
``/oauth2/authorize``, ``/oauth2/token``, ``/oauth2/metadata``, ``/3.0/`` and
``/3.0/ping``; for reading what an account holds: ``/3.0/lists``, one list,
its members, one member by id, address or contact id, its tags, merge fields;
and for writing members: POST, PUT, PATCH, DELETE, delete-permanent, tags, and up
to 500 by ``POST /3.0/lists/{id}``. Consent is kept as Mailchimp keeps it: who left
by itself cannot be subscribed, who was deleted for good does not come back, and
an archived contact stays so unless a status is sent. Webhooks are made at
``/3.0/lists/{id}/webhooks``, which looks at their address first; changes of contacts are
delivered to them as forms, signed unless they are as of old, and again for 75 minutes
where nobody takes them. The metadata name the
address at which they were asked as ``api_endpoint``. It imports neither
Tieline, nor its plugin, nor Mailchimp's SDK, so that a mistake has to be made
twice to stay unseen.

API keys go by Basic, any user name; OAuth tokens by Bearer or OAuth. Tokens
never expire and there is nothing to refresh. Each user may have ten calls in
flight, over keys and tokens together; the eleventh is refused.

Beside the API there is a control surface in plain JSON, without a key:

``GET /_sandbox/``
    Facts: seed, application, accounts with their keys and with ``in_flight``
    (``{"now", "most", "refused"}``), clock, kinds of faults.
``GET /_sandbox/guide``
    How all of this is used by programs that try a client: see ``guide``.
``GET /_sandbox/log?after=N``
    ``{"total", "requests": [{"number", "accepted_ms", "answered_ms", "method",
    "path", "query", "status", "request_id"}]}``: what was answered, in order.
    ``status`` 0: the connection was closed. Secrets in the query are starred
    out; control requests are not in it.
``POST /_sandbox/faults``, ``GET /_sandbox/faults``
    A list of :class:`~tieline_mailchimp_sandbox.faults.Fault` as JSON objects;
    it replaces the script, ``[]`` clears it. Answers
    ``[{"fault": {…}, "matched": n}]``.
``POST /_sandbox/mutate``
    A :class:`~tieline_mailchimp_sandbox.mutation.Mutation` as a JSON object; it
    answers whom it changed.
``POST /_sandbox/contacts``
    ``{"account", "audience", "add": {fields} | "find": id, address or contact id,
    "set": {fields}, "leave": "unsubscribe" | "bounce", "remove": bool, "quiet":
    bool}``: plants, alters or removes one contact and answers it; ``leave`` lets
    it go by itself, ``quiet`` leaves ``last_changed`` alone.
``POST /_sandbox/lists``
    ``{"account", "add": {fields} | "audience": id, "set": {fields}, "require":
    [tags], "remove": bool}``: the same with a list, and answers it; ``require``
    says which merge fields must not be blank.
``GET /_sandbox/deliveries?after=N``
    ``{"total", "deliveries": [{"number", "webhook", "list_id", "type", "body", "state",
    "attempts": [{"at", "status", "error", "ms"}]}]}``: what was delivered, and how it was
    answered. ``state`` is waiting, taken, given up, lost (on order) or dropped (its webhook
    is gone or silenced); ``status`` 0: no answer, for the reason in ``error``.
``POST /_sandbox/webhooks``, ``GET /_sandbox/webhooks``
    Orders, each optional: ``{"rules": {:class:`~tieline_mailchimp_sandbox.post.Rules`},
    "release": "as made" | "reversed" | "shuffled", "resend": [numbers], "account",
    "audience", "campaign": {fields}}``. The rules hold deliveries back until they are
    released, copy, lose or delay them, and say when they are tried again. ``resend``
    delivers the same bodies once more; ``campaign`` tells of a campaign. Answers ``{"rules",
    "held", "waiting", "sending", "overflowed"}``.
``GET /_sandbox/truth?account=0&entity=contacts|lists``
    Everything as it is now, archived contacts too, without links.
``POST /_sandbox/clock``, ``GET /_sandbox/clock``
    ``{"now": epoch seconds, "advance_s": seconds, "frozen": bool}``, each
    optional; never back. Answers ``{"now", "frozen"}``.
``GET /_sandbox/oauth?grant=ID``
    What was granted, all or one: ``{"token_calls", "refreshes",
    "max_in_flight", "grants": [{"id", "account", "state", "refreshes",
    "refused", "reuse", "max_in_flight", "access_token", "refresh_token"}]}``.
    ``token_calls`` were carried out, with success or not; ``state`` is live or
    revoked; ``refused`` counts refused exchanges of the grant's code, ``reuse``
    those that came after the first. ``refreshes`` is 0 and ``refresh_token``
    null, always.
``POST /_sandbox/oauth``
    Orders, each optional: ``{"consent": "auto" | "deny" | "page", "login_as":
    index of the account that consents next, "revoke": id of a grant or an
    account, or an API key, "grant": {"account": index}}``. Answers as GET
    does; after ``grant``, which needs no browser, with Mailchimp's own token
    answer.

Mistakes are answered with 400 and ``{"error": text}``.
"""

from tieline_mailchimp_sandbox.app import create_app

__all__ = ["create_app"]
