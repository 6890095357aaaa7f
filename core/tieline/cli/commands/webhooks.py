"""``tieline webhooks``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tieline import services
from tieline.cli.commands.webhook_events import events
from tieline.cli.commands.webhook_trials import listen, send
from tieline.cli.face import (
    actor,
    ago,
    installation,
    json_option,
    note,
    print_json,
    print_table,
    when,
)
from tieline.cli.secrets import read_secret
from tieline.contract import Secret

if TYPE_CHECKING:
    from tieline.services.webhooks import Listed, Made

__all__ = ["webhooks"]


@click.group(invoke_without_command=True)
@click.pass_context
@json_option
def webhooks(ctx: click.Context, as_json: bool) -> None:
    """List endpoints that providers deliver to; make them, rotate their secrets.

    `tieline serve` answers at them. Every command takes an endpoint by its id.
    """
    if ctx.invoked_subcommand is None:
        _list(None, as_json=as_json)


for _command in (events, listen, send):
    webhooks.add_command(_command)


@webhooks.command("list")
@click.argument("target", required=False)
@json_option
def list_(target: str | None, as_json: bool) -> None:
    """List all endpoints, or those of a connection or a provider, with what came in."""
    _list(target, as_json=as_json)


@webhooks.command()
@click.argument("endpoint")
@json_option
def show(endpoint: str, as_json: bool) -> None:
    """Show one endpoint, its secrets but for their text, and what was refused and why."""
    with installation() as opened:
        found = services.webhooks.get_endpoint(opened, endpoint, is_counted=True)
        now = opened.clock.now()
    if as_json:
        print_json({"endpoint": _facts(found)})
        return
    row = found.endpoint
    lines: list[tuple[str, object]] = [
        ("endpoint", row.id),
        ("of", row.connection_name or f"the application at {row.provider}"),
        ("provider", f"{row.provider} ({row.environment})"),
        ("address", row.address),
        ("state", _state(found)),
        ("goes by", _level(found)),
        ("last heard", ago(row.last_received_at, now)),
        *([("registered", row.remote_id)] if row.remote_id else []),
    ]
    for each in found.secrets:
        until = f", until {when(each.retires_at)}" if each.retires_at else ""
        lines.append((f"{each.kind} secret", f"{each.id} of {when(each.made_at)}{until}"))
    if found.from_settings:
        lines.append(("settings", f"{found.from_settings} more secrets"))
    lines += [(what, count) for what, count in (found.counts or {}).items()]
    for label, value in lines:
        print_table((label, str(value)), [])
    if found.is_closed:
        note(f"  next  tieline webhooks secret rotate {row.id} --secret-stdin")


@webhooks.command()
@click.argument("target", metavar="CONNECTION|PROVIDER")
@click.option("--url", default="", help="Where `tieline serve` is reached [TIELINE_PUBLIC_URL].")
@click.option("--environment", default="", help="Of an application's endpoint [the first].")
@click.option("--secret-stdin", is_flag=True, help="Read the provider's signing secret from stdin.")
@click.option("--secret-file", type=click.Path(path_type=Path), help="Read it from a file.")
@click.option("--expects-every", metavar="1d", help="Tell people after so long a silence.")
@json_option
def add(
    target: str,
    url: str,
    environment: str,
    secret_stdin: bool,
    secret_file: Path | None,
    expects_every: str | None,
    as_json: bool,
) -> None:
    """Make an endpoint, and say what to tell the provider.

    For a connection, or, where a provider has one address for all accounts of
    an application, for the provider. An address that ends in a secret is
    printed now and never again.

    Example: `tieline webhooks add shop --url https://tieline.example.com`
    """
    secret = _given(secret_stdin, secret_file)
    with installation() as opened:
        made = services.webhooks.add_endpoint(
            opened,
            target,
            base=url,
            environment=environment,
            secret=secret,
            expects_every=expects_every,
            actor=actor(),
        )
    _tell(made, "added", as_json=as_json)


@webhooks.command()
@click.argument("endpoint")
@json_option
def remove(endpoint: str, as_json: bool) -> None:
    """Remove an endpoint; what came in stays and is handled."""
    with installation() as opened:
        row = services.webhooks.remove_endpoint(opened, endpoint, actor=actor())
    if as_json:
        print_json({"removed": {"endpoint": row.id}})
    else:
        note(f"  removed   {row.id}")


@webhooks.command()
@click.argument("endpoint")
@json_option
def disable(endpoint: str, as_json: bool) -> None:
    """Take no deliveries; the provider repeats them for a while."""
    _set(endpoint, is_active=False, as_json=as_json)


@webhooks.command()
@click.argument("endpoint")
@json_option
def enable(endpoint: str, as_json: bool) -> None:
    """Take deliveries again."""
    _set(endpoint, is_active=True, as_json=as_json)


@webhooks.command()
@click.argument("endpoint")
@click.option("--by", metavar="CONNECTION", help="Whose credential does it [the endpoint's own].")
@json_option
def register(endpoint: str, by: str | None, as_json: bool) -> None:
    """Make an endpoint known at the provider by its API, and keep the secret it gives."""
    with installation() as opened:
        found = services.webhook_registration.register_endpoint(
            opened, endpoint, by=by, actor=actor()
        )
    _said(found, "registered", as_json=as_json)


@webhooks.command()
@click.argument("endpoint")
@click.option("--by", metavar="CONNECTION", help="Whose credential does it [the endpoint's own].")
@json_option
def unregister(endpoint: str, by: str | None, as_json: bool) -> None:
    """Take an endpoint back at the provider."""
    with installation() as opened:
        found = services.webhook_registration.unregister_endpoint(
            opened, endpoint, by=by, actor=actor()
        )
    _said(found, "unregistered", as_json=as_json)


@webhooks.group()
def secret() -> None:
    """Show the secrets of an endpoint, rotate them, end the old ones."""


@secret.command("show")
@click.argument("endpoint")
@click.option("--raw", is_flag=True, help="Print the signing secrets themselves.")
@json_option
def secret_show(endpoint: str, raw: bool, as_json: bool) -> None:
    """List an endpoint's secrets: kind, age and end.

    Of a secret at the end of an address only a hash is kept: it is never shown.
    ENDPOINT may be `dev`: the development secret, with which `tieline webhooks
    listen` signs what it hands on.
    """
    if endpoint == services.development.DEVELOPMENT:
        _show_development(is_raw=raw, as_json=as_json)
        return
    with installation() as opened:
        found = services.webhooks.get_endpoint(opened, endpoint)
        opened_ones = services.webhooks.reveal_secrets(opened, endpoint) if raw else []
    texts = {row.id: text.reveal() for row, text in opened_ones}
    if as_json:
        facts = [
            each | ({"secret": texts[each["id"]]} if each["id"] in texts else {})
            for each in _facts(found)["secrets"]
        ]
        print_json({"secrets": facts})
        return
    print_table(
        ("SECRET", "KIND", "MADE", "UNTIL", *(("TEXT",) if raw else ())),
        (
            (
                each.id,
                each.kind,
                when(each.made_at),
                when(each.retires_at),
                *((texts.get(each.id, "-"),) if raw else ()),
            )
            for each in found.secrets
        ),
    )


@secret.command("rotate")
@click.argument("endpoint")
@click.option("--secret-stdin", is_flag=True, help="Read the provider's new secret from stdin.")
@click.option("--secret-file", type=click.Path(path_type=Path), help="Read it from a file.")
@click.option("--overlap", default="24h", show_default=True, help="The old ones are good so long.")
@json_option
def secret_rotate(
    endpoint: str, secret_stdin: bool, secret_file: Path | None, overlap: str, as_json: bool
) -> None:
    """Add a new secret; the old ones are accepted until the overlap is over.

    Without a secret a new address is made, for providers that do not sign.
    ENDPOINT may be `dev`: the development secret is made anew, without overlap.
    """
    if endpoint == services.development.DEVELOPMENT:
        with installation() as opened:
            services.development.renew_development_secret(opened)
        _show_development(is_raw=False, as_json=as_json)
        return
    given = _given(secret_stdin, secret_file)
    with installation() as opened:
        made = services.webhooks.rotate_secret(
            opened, endpoint, secret=given, overlap=overlap, actor=actor()
        )
    _tell(made, "rotated", as_json=as_json)


@secret.command("finish")
@click.argument("endpoint")
@json_option
def secret_finish(endpoint: str, as_json: bool) -> None:
    """End the old secrets now: from here on nothing that shows them is accepted."""
    with installation() as opened:
        found = services.webhooks.finish_rotation(opened, endpoint, actor=actor())
    _said(found, "finished", as_json=as_json)


def _show_development(*, is_raw: bool, as_json: bool) -> None:
    with installation() as opened:
        text = services.development.development_secret(opened).reveal()
    told = {"secret": text} if is_raw else {}
    if as_json:
        print_json(
            {"secrets": [{"id": services.development.DEVELOPMENT, "kind": "signature"} | told]}
        )
        return
    columns = ("SECRET", "KIND", *(("TEXT",) if is_raw else ()))
    print_table(columns, [(services.development.DEVELOPMENT, "signature", *told.values())])


def _given(from_stdin: bool, file: Path | None) -> Secret | None:
    if not from_stdin and file is None:
        return None
    read = read_secret("Signing secret", from_stdin=from_stdin, file=file)
    return Secret(read.reveal().strip())


def _set(endpoint: str, *, is_active: bool, as_json: bool) -> None:
    with installation() as opened:
        found = services.webhooks.set_state(opened, endpoint, is_active=is_active, actor=actor())
    _said(found, "enabled" if is_active else "disabled", as_json=as_json)


def _state(found: Listed) -> str:
    if found.is_closed:
        return "closed: it has no secret, so nothing is accepted"
    return found.endpoint.state


def _level(found: Listed) -> str:
    if found.endpoint.scheme_level == "signature":
        return "signature"
    return "the secret in its address alone: weaker than a signature"


def _facts(found: Listed) -> dict[str, Any]:
    row = found.endpoint
    return {
        "id": row.id,
        "provider": row.provider,
        "environment": row.environment,
        "connection": row.connection_name or None,
        "address": row.address,
        "state": "closed" if found.is_closed else row.state,
        "scheme_level": row.scheme_level,
        "secrets": [
            {
                "id": each.id,
                "kind": each.kind,
                "made_at": each.made_at,
                "retires_at": each.retires_at,
            }
            for each in found.secrets
        ],
        "secrets_in_settings": found.from_settings,
        "remote_id": row.remote_id,
        "expects_every_s": row.expects_every_s,
        "last_received_at": row.last_received_at,
        "counts": found.counts,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _said(found: Listed, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"endpoint": _facts(found)})
    else:
        note(f"  {done:<14}{found.endpoint.id}: {_state(found)}")


def _tell(made: Made, done: str, *, as_json: bool) -> None:
    """Print an address on stdout, where it may be piped on; it is told this once."""
    row, url = made.listed.endpoint, made.url.reveal()
    if as_json:
        print_json({"endpoint": _facts(made.listed), "url": url})
        return
    note(f"  {done:<10} {row.id}: {_state(made.listed)}")
    print_table((url,), [])
    by_hand = "" if row.remote_id else made.listed.instructions
    if made.listed.is_registrable and done == "added":
        whose = "" if row.connection_id else " --by CONNECTION"
        note(f"  next  tieline webhooks register {row.id}{whose}")
        by_hand = f"or by hand: {by_hand}" if by_hand else ""
    if by_hand:
        note(f"  next  {by_hand}")
    if made.listed.is_closed:
        note(f"  then  tieline webhooks secret rotate {row.id} --secret-stdin")


def _list(target: str | None, *, as_json: bool) -> None:
    with installation() as opened:
        found = services.webhooks.list_endpoints(opened, target=target)
        counted = services.webhooks.count_deliveries(opened)
        now = opened.clock.now()
    if as_json:
        nobodys = None if counted is None else dict(counted.get(None, {}))
        print_json({"endpoints": [_facts(each) for each in found], "refused_elsewhere": nobodys})
        return
    if not found:
        note("  there is no endpoint yet (next: tieline webhooks add CONNECTION)")
        return
    print_table(
        ("ENDPOINT", "OF", "PROVIDER", "STATE", "GOES BY", "ACCEPTED", "REFUSED", "LAST HEARD"),
        (
            (
                each.endpoint.id,
                each.endpoint.connection_name or "(application)",
                each.endpoint.provider,
                "closed" if each.is_closed else each.endpoint.state,
                each.endpoint.scheme_level,
                _sum(each, is_good=True),
                _sum(each, is_good=False),
                ago(each.endpoint.last_received_at, now),
            )
            for each in found
        ),
    )


_NO_REFUSALS = frozenset({"accepted", "repeated", "account-unknown"})


def _sum(found: Listed, *, is_good: bool) -> str:
    if found.counts is None:
        return "?"
    if is_good:
        return str(found.counts.get("accepted", 0))
    return str(sum(n for what, n in found.counts.items() if what not in _NO_REFUSALS))
