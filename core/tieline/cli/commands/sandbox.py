"""``tieline sandbox``: its options come from the sandbox's own signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import rich_click as click

from tieline.cli.face import flush, note, write_line
from tieline.errors import nearest
from tieline.registry import find_sandboxes
from tieline.services.sandbox import load_sandbox, serve

__all__ = ["sandbox"]

_TYPES = {"int": int, "float": float, "str": str, "bool": bool}


class _Sandboxes(click.RichGroup):
    """One command per installed sandbox, imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own
        return sorted(find_sandboxes())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        known = find_sandboxes()
        if cmd_name not in known:
            ctx.fail(f"there is no sandbox {cmd_name!r}: {nearest(cmd_name, known)}")
        return _command(cmd_name, load_sandbox(cmd_name))


@click.group()
def sandbox() -> None:
    """Serve a provider's sandbox: a local server that behaves as the provider does."""


@sandbox.group("serve", cls=_Sandboxes)
def serve_() -> None:
    """Serve a sandbox on this machine until Ctrl-C."""


def _command(name: str, factory: Callable[..., Any]) -> click.Command:
    def run(host: str, port: int, **given: Any) -> None:
        def ready(url: str) -> None:
            write_line(f"{name} sandbox at {url}".encode())
            flush()
            note(f"  next      tieline connect {name} --name test --base-url {url}")

        serve(factory(**given), host=host, port=port, on_ready=ready)

    options = [
        click.Option(["--host"], default="127.0.0.1", show_default=True, help="Address to bind."),
        click.Option(
            ["--port"],
            default=12111,
            show_default=True,
            type=click.IntRange(0, 65535),
            help="Port to bind; 0 takes a free one.",
        ),
        *(_option(parameter) for parameter in inspect.signature(factory).parameters.values()),
    ]
    return click.RichCommand(
        name=name,
        params=list(options),
        callback=run,
        help=f"Serve the {name} sandbox until Ctrl-C.",
    )


def _option(parameter: inspect.Parameter) -> click.Option:
    kind = parameter.annotation
    kind = kind if isinstance(kind, str) else getattr(kind, "__name__", "str")
    flag = parameter.name.replace("_", "-")
    if kind == "bool":
        return click.Option([f"--{flag}/--no-{flag}"], default=parameter.default, show_default=True)
    return click.Option(
        [f"--{flag}"], default=parameter.default, type=_TYPES.get(kind, str), show_default=True
    )
