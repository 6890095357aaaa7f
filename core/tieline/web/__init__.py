"""HTTP: where providers deliver, and browsers come back from a consent page."""

from tieline.web.app import SERVICE, create_app
from tieline.web.listen import listen
from tieline.web.serve import Listener, serve
from tieline.web.served import ServedSign

__all__ = ["SERVICE", "Listener", "ServedSign", "create_app", "listen", "serve"]
