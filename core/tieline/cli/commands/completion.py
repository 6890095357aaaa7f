"""``tieline completion``."""

from __future__ import annotations

import sys

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]

_WHERE = {
    "bash": "~/.bashrc: source <(tieline completion bash)",
    "zsh": "~/.zshrc, after compinit: source <(tieline completion zsh)",
    "fish": "tieline completion fish > ~/.config/fish/completions/tieline.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(sorted(_WHERE)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands and options.

    bash and zsh: write into ~/.bashrc or ~/.zshrc, after compinit:
    `source <(tieline completion bash)`. fish: `tieline completion fish >
    ~/.config/fish/completions/tieline.fish`.
    """
    kind = get_completion_class(shell)
    assert kind is not None  # the choices are click's own
    root = ctx.find_root().command
    script = kind(root, {}, "tieline", "_TIELINE_COMPLETE")
    # Not .source(): it starts a bash to ask for its version, and complains without one.
    sys.stdout.write(f"# {_WHERE[shell]}\n")
    sys.stdout.write(script.source_template % script.source_vars() + "\n")
