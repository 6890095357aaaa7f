"""``tieline serve``."""

from __future__ import annotations

import rich_click as click

from tieline.cli.face import flush, installation, write_line

__all__ = ["serve"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind.")
@click.option(
    "--port",
    default=8377,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to bind; 0 takes a free one.",
)
def serve(host: str, port: int) -> None:
    """Answer browsers that come back from a provider's consent page.

    Any number may run. Behind a proxy that ends TLS, set TIELINE_PUBLIC_URL
    to the address that people and providers use.
    """
    from tieline.web import ServedSign, create_app  # noqa: PLC0415 - help can spare it
    from tieline.web import serve as serve_app  # noqa: PLC0415

    def ready(address: str) -> None:
        write_line(f"tieline serve at {address}".encode())
        flush()

    with installation(is_service=True) as opened:
        _ = opened.engine, opened.redis  # what is not set up is said at the start
        with ServedSign(opened):
            serve_app(create_app(opened), host=host, port=port, on_ready=ready)
