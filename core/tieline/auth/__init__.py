"""From a connection's name to a client that works, its tokens good."""

from tieline.auth.application import application_of, callback_path, redirect_uri_of
from tieline.auth.opened import OpenConnection, Opener, auth_of, connection_of
from tieline.auth.refresh import Held, Refresher
from tieline.auth.tokens import Grant, TokenEndpoint
from tieline.auth.trouble import note_recovered, note_refused, reauth_hint

__all__ = [
    "Grant",
    "Held",
    "OpenConnection",
    "Opener",
    "Refresher",
    "TokenEndpoint",
    "application_of",
    "auth_of",
    "callback_path",
    "connection_of",
    "note_recovered",
    "note_refused",
    "reauth_hint",
    "redirect_uri_of",
]
