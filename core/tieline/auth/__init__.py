"""From a connection's name to a client that works."""

from tieline.auth.opened import OpenConnection, Opener

__all__ = ["OpenConnection", "Opener"]
