"""Whether there is a console, and where."""

from __future__ import annotations

from tieline.contract import SettingsError
from tieline.errors import RefusedError
from tieline.services import sessions
from tieline.services.addresses import safe_address
from tieline.services.installation import Installation
from tieline.settings import Settings

__all__ = ["address_of", "is_on", "link_to", "require_address"]


def is_on(settings: Settings, *, beside_up: bool = False) -> bool:
    """Say whether the console is served.

    Args:
        settings: The installation's.
        beside_up: `tieline up` asks, which turns it on in development unless
            the settings say no: its server listens on this machine alone.
    """
    if settings.console is None:
        return beside_up and not settings.is_production
    return settings.console


def require_address(settings: Settings) -> None:
    """Refuse to show the console where its cookie would pass a network in clear.

    Raises:
        SettingsError: It is so.
    """
    if settings.is_production and not settings.public_url.startswith("https://"):
        raise SettingsError(
            "TIELINE_CONSOLE: in production the console is for https alone",
            hint="set TIELINE_PUBLIC_URL to the https address that people use",
            code="console-address",
        )


def address_of(settings: Settings, served_at: str, code: str = "") -> str:
    """Return where people see the console.

    Args:
        settings: The installation's.
        served_at: Where this machine answers, if the settings name no https address.
        code: What signs in once, of :func:`tieline.services.sessions.make_link`.
    """
    is_public = settings.public_url.startswith("https://")
    base = settings.public_url if is_public else served_at.rstrip("/")
    return f"{base}/console/enter/{code}" if code else f"{base}/console"


def link_to(installation: Installation, served_at: str, name: str | None, *, actor: str) -> str:
    """Return an address that signs in once, within ten minutes.

    Args:
        installation: Where.
        served_at: As for :func:`address_of`.
        name: The token to sign in as; None for the console's own.
        actor: Who asks, for the sync log.

    Raises:
        InvalidInputError: No browser gets there, or not safely.
        RefusedError: There is no console here, or the token is over.
        SettingsError: It must not be shown at its address.
        NotFoundError: There is no such token.
        DependencyError: The database does not answer.
    """
    if not is_on(installation.settings, beside_up=True):
        raise RefusedError(
            "the console is not turned on here",
            hint="set TIELINE_CONSOLE=true where tieline serve runs",
            code="console-off",
        )
    require_address(installation.settings)
    parts = safe_address(
        served_at,
        purpose="a browser finds tieline serve at, over https or on this machine",
        hint="for example http://127.0.0.1:8377",
    )
    served_at = f"{parts.scheme}://{parts.netloc}{parts.path}"
    code = sessions.make_link(installation, name, actor=actor)
    return address_of(installation.settings, served_at, code.reveal())
