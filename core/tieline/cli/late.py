"""Groups that import a command when it is called, and not to print its line of help."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import click

from tieline.cli.pages import PageContext, prepare

__all__ = ["LateGroup"]


class LateGroup(click.Group):
    """Commands that have a name and a line until one of them is called."""

    context_class = PageContext
    what = "command"

    @abstractmethod
    def known(self) -> Mapping[str, str]:
        """Return what each command is for, by name, in order."""

    @abstractmethod
    def load(self, name: str) -> click.Command:
        """Import a command."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own
        """Name all commands, in order."""
        return list(self.known())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command: whole if it is the one that is called."""
        known = self.known()
        if cmd_name not in known:
            return None
        if cmd_name != ctx.meta.get("tieline.called"):
            return click.Command(cmd_name, help=known[cmd_name], short_help=known[cmd_name])
        found = self.load(cmd_name)
        prepare(found)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Note which command is called, or say which one may be meant."""
        ctx.meta["tieline.called"] = args[0]
        known = self.known()
        if args[0] not in known and not args[0].startswith("-"):
            from tieline.errors import nearest

            ctx.fail(f"there is no {self.what} {args[0]!r}: {nearest(args[0], known)}")
        return super().resolve_command(ctx, args)
