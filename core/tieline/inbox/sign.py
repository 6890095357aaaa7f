"""Sign as a provider does: what :func:`~tieline.inbox.verify.verify` accepts, made here.

It is for trying things out: deliveries from fixtures, and those that a
development loop hands on. No provider's deliveries are signed here.
"""

from __future__ import annotations

import secrets as random
from base64 import b64encode

from tieline.contract import Hmac, PathSecret, Scheme, Secret
from tieline.errors import InvalidInputError
from tieline.inbox.verify import key_of, signature_of, signed_text, units_of

__all__ = ["new_signing_secret", "sign", "signed_by"]

_SECRET_BYTES = 32


def signed_by(scheme: Scheme | None) -> Hmac | None:
    """Return the signature that a scheme has; None if it has none."""
    return scheme.also if isinstance(scheme, PathSecret) else scheme


def new_signing_secret(scheme: Hmac | None = None) -> Secret:
    """Make a secret in the form that a scheme wants.

    Without a scheme it is one that serves all that are known here: ``whsec_``
    and 32 bytes in base64, whose text may be the key, too.
    """
    prefix = "whsec_" if scheme is None or scheme.secret_prefix is None else scheme.secret_prefix
    return Secret(prefix + b64encode(random.token_bytes(_SECRET_BYTES)).decode())


def sign(
    scheme: Hmac, secret: Secret, *, body: bytes, address: str, at: int, delivery_id: str
) -> dict[str, str]:
    """Return the headers that show where a delivery comes from.

    Args:
        scheme: How it is signed.
        secret: With what.
        body: As it is sent.
        address: As the receiver believes that it was told.
        at: Of when it is, in seconds since 1970; unused where no time is signed.
        delivery_id: Goes into the header that the scheme names for it, if any.

    Raises:
        InvalidInputError: The secret is not in the scheme's form.
    """
    if not (key := key_of(scheme, secret)):
        raise InvalidInputError(
            "the signing secret is not in the form that the provider's scheme has",
            hint="tieline webhooks secret rotate ENDPOINT --secret-stdin",
            code="secret-invalid",
        )
    time = str(at * units_of(scheme))
    text = signed_text(scheme, body=body, time=time, address=address, delivery_id=delivery_id)
    signature = signature_of(scheme, key, text).decode()
    headers = {scheme.id: delivery_id} if scheme.id else {}
    apart = scheme.timestamp_header or ("" if scheme.signature else scheme.timestamp)
    if apart:
        headers[apart] = time
    if not scheme.signature:
        return headers | {scheme.header: signature}
    parts = [(scheme.timestamp, time)] if scheme.timestamp and not apart else []
    parts.append((scheme.signature, signature))
    told = scheme.separator.join(f"{name}{scheme.assign}{value}" for name, value in parts)
    return headers | {scheme.header: told}
