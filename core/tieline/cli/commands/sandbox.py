"""``tieline sandbox``: its options come from the sandbox's own signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import click

from tieline import services
from tieline.cli.face import flush, note, write_line
from tieline.cli.late import LateGroup

__all__ = ["sandbox"]

_TYPES = {"int": int, "float": float, "str": str, "bool": bool}


class _Sandboxes(LateGroup):
    what = "sandbox"

    def known(self) -> Mapping[str, str]:
        from tieline.registry import find_sandboxes

        return {name: _line(name) for name in sorted(find_sandboxes())}

    def load(self, name: str) -> click.Command:
        return _command(name, services.sandbox.load_sandbox(name))


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

        services.sandbox.serve(factory(**given), host=host, port=port, on_ready=ready)

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
    return click.Command(
        name=name,
        params=list(options),
        callback=run,
        help=_line(name),
    )


def _line(name: str) -> str:
    return f"Serve the {name} sandbox until Ctrl-C."


def _option(parameter: inspect.Parameter) -> click.Option:
    kind = parameter.annotation
    kind = kind if isinstance(kind, str) else getattr(kind, "__name__", "str")
    flag = parameter.name.replace("_", "-")
    if kind == "bool":
        return click.Option([f"--{flag}/--no-{flag}"], default=parameter.default, show_default=True)
    return click.Option(
        [f"--{flag}"], default=parameter.default, type=_TYPES.get(kind, str), show_default=True
    )
