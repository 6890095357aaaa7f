"""``tieline bundle``."""

from __future__ import annotations

from pathlib import Path

import click

from tieline import services
from tieline.cli.face import installation, json_option, note, print_json

__all__ = ["bundle"]


@click.command()
@click.option("--output", type=click.Path(path_type=Path), help="Where; a name with the time.")
@json_option
def bundle(output: Path | None, as_json: bool) -> None:
    """Write an archive that says how this installation is, to be sent to who helps.

    It holds versions, settings, what `doctor` and `status` say, the last runs,
    alerts and the sync log. It holds no record, no credential, no delivery;
    values of secret settings are left out. Look into it before you send it:
    names of connections and the providers' words are in there.
    """
    with installation() as opened:
        now = opened.clock.now()
        path = output or Path(f"tieline-bundle-{now:%Y%m%d-%H%M%S}.tar.gz")
        names = services.bundle.write_bundle(opened, path)
    if as_json:
        print_json({"bundle": str(path), "parts": names})
        return
    note(f"  written   {path}: {', '.join(names)}")
    note(f"  next      look into it: tar -xzf {path} -O | less")
