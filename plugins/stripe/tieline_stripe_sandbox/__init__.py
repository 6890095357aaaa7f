"""A Stripe account on this machine, for development, tests and benchmarks.

:func:`create_app` makes an ASGI application that answers as api.stripe.com does
for customers, events and the account: same paths, parameters, paging, error
bodies, idempotency and limits. It imports neither Tieline, nor its plugin, nor
Stripe's SDK, so that a mistake has to be made twice to stay unseen.

Beside the API there is a control surface in plain JSON, without a key:

``GET /_sandbox/``
    Facts: account, seed, counts, clock and the kinds of faults.
``GET /_sandbox/log?after=N``
    ``{"total", "requests": [{"number", "accepted_ms", "answered_ms", "method",
    "path", "query", "status", "request_id"}]}``: what was answered, in order.
    ``status`` 0: the connection was closed. Control requests are not in it.
``GET /_sandbox/truth?after=ID&ids_only=true``
    The live customers as JSON lines ``{"id", "object"}``, oldest first; those
    of test clocks are left out, as in lists. It is streamed: don't change the
    account meanwhile.
``POST /_sandbox/mutate``
    ``{"create": n, "update": n, "delete": n, "seed": s}``: changes with events.
    Answers ``{"created": [ids], "updated": [ids], "deleted": [ids]}``.
``POST /_sandbox/faults``, ``GET /_sandbox/faults``
    A list of :class:`~tieline_stripe_sandbox.faults.Fault` as JSON objects; it
    replaces the script, ``[]`` clears it. Answers
    ``[{"fault": {…}, "matched": n}]``.
``POST /_sandbox/clock``, ``GET /_sandbox/clock``
    ``{"now": epoch seconds, "advance_s": seconds, "frozen": bool}``, each
    optional; never back. Answers ``{"now", "frozen"}``.

Mistakes are answered with 400 and ``{"error": text}``.

Keys: any ``sk_test_…`` or ``rk_test_…``; ``…_expired…`` is expired; restricted
keys ending in ``_noread``, ``_nowrite`` or ``_noevents`` lack these rights.

The indices of awkward customers are listed in ``edges``.
"""

from tieline_stripe_sandbox.app import create_app

__all__ = ["create_app"]
