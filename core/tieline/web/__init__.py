"""HTTP: where browsers come back from a provider's consent page."""

from tieline.web.app import SERVICE, create_app
from tieline.web.serve import Listener, serve

__all__ = ["SERVICE", "Listener", "create_app", "serve"]
