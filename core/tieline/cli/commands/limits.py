"""``tieline limits``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
import orjson

from tieline import services
from tieline.cli.face import (
    actor,
    flush,
    installation,
    json_option,
    note,
    print_json,
    print_table,
    when,
    write_line,
)

if TYPE_CHECKING:
    from tieline.services.limits import AccountLimits
    from tieline.throttle import InFlight, Usage

__all__ = ["limits"]

_BAR = 10
_PERIODS = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}
_WATCH_S = 1.0


class _Limits(click.Group):
    """Shows the limits unless another of its commands is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in {"-h", "--help"}):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Limits)
def limits() -> None:
    """Show who uses which limit and what waits; set one for a time.

    `tieline limits` and `tieline limits CONNECTION` are short for `tieline
    limits show`.
    """


@limits.command()
@click.argument("connection", required=False)
@click.option("--watch", is_flag=True, help="Again every second, until Ctrl-C.")
@json_option
def show(connection: str | None, watch: bool, as_json: bool) -> None:
    """Show how the accounts stand with their providers' limits: all, or one connection's.

    What a window counts: calls of all processes, and those that have a turn in
    the next moments. BY says what they were for: live (people and webhooks),
    sync, backfill.
    """
    with installation() as opened:
        if not watch:
            _show(services.limits.show_limits(opened, connection), as_json=as_json)
            return
        try:
            while True:
                found = services.limits.show_limits(opened, connection)
                if as_json:
                    line = {"limits": [_facts(account) for account in found]}
                    write_line(orjson.dumps(line, option=orjson.OPT_UTC_Z))
                else:
                    if sys.stdout.isatty():
                        click.clear()
                    _show(found, as_json=False)
                flush()
                opened.clock.sleep(_WATCH_S)
        except KeyboardInterrupt:
            return


@limits.command("set")
@click.argument("name", metavar="CONNECTION|PROVIDER")
@click.argument("rates", metavar="LIMITS")
@click.option("--for", "lasting", required=True, metavar="2h", help="How long: s, m, h or d.")
@json_option
def set_(name: str, rates: str, lasting: str, as_json: bool) -> None:
    """Let LIMITS hold instead of the policy, for a time; no restart is needed.

    Every process obeys at its next call; afterwards the policy holds by
    itself. LIMITS are written as TIELINE_<PROVIDER>_RATE_LIMITS is.

    Example: `tieline limits set shop "8/second; concurrency=4" --for 2h`
    """
    with installation() as opened:
        found = services.limits.set_limits(opened, name, rates, lasting=lasting, actor=actor())
    if as_json:
        print_json({"limits": [_facts(account) for account in found]})
        return
    for account in found:
        standing = account.standing
        note(f"  set       {account.names}: {standing.override}")
        note(f"  until     {when(standing.override_until)} (or: tieline limits reset {name})")


@limits.command()
@click.argument("name", metavar="CONNECTION|PROVIDER")
@json_option
def reset(name: str, as_json: bool) -> None:
    """Let the policy hold again, whole: end what was set, pauses, and what was learned."""
    with installation() as opened:
        found = services.limits.reset_limits(opened, name, actor=actor())
    if as_json:
        print_json({"limits": [_facts(account) for account in found]})
        return
    for account in found:
        note(f"  reset     {account.names}: the policy holds")


@limits.command("reset-breaker")
@click.argument("connection")
@json_option
def reset_breaker(connection: str, as_json: bool) -> None:
    """Let calls pass again at once, after you know that the provider is back."""
    with installation() as opened:
        was_there = services.limits.reset_breaker(opened, connection, actor=actor())
    if as_json:
        print_json({"was_there": was_there})
    else:
        note(f"  {'closed' if was_there else 'nothing'}   {connection}")


def _show(found: Sequence[AccountLimits], *, as_json: bool) -> None:
    if as_json:
        print_json({"limits": [_facts(account) for account in found]})
        return
    if not found:
        note("  there is no connection (next: tieline connect PROVIDER --name NAME)")
        return
    print_table(
        ("CONNECTION", "PROVIDER", "COUNTS", "LIMIT", "USED", "", "WAITING", "BY", "RESETS"),
        (row for account in found for row in _rows(account)),
    )
    states = [(account.names, state) for account in found for state in _states(account)]
    if states:
        print_table(("CONNECTION", "STATE"), states)


def _rows(account: AccountLimits) -> Iterator[Sequence[object]]:
    first, standing = account.accounts[0], account.standing
    head = (account.names, first.row.provider)
    for window in standing.windows:
        by = ", ".join(f"{pace} {count}" for pace, count in window.by_class.items() if count)
        yield (
            *head,
            window.label,
            _limit_of(window),
            f"{window.used} of {window.lowered}",
            _bar(window),
            window.waiting,
            by or "-",
            when(window.resets_at),
        )
    if standing.in_flight is not None:
        flight = standing.in_flight
        used = f"{flight.used} of {flight.lowered}"
        limit = f"{flight.limit} at once"
        yield (*head, "calls under way", limit, used, _bar(flight), flight.waiting, "-", "-")
    if not standing.windows and standing.in_flight is None:
        rates = ", ".join(rate.limit for rate in first.policy.rates) or "no limit"
        yield (*head, "nothing lately", rates, "0", "-", 0, "-", "-")


def _states(account: AccountLimits) -> Iterator[str]:
    standing = account.standing
    if standing.override:
        yield f"set for a time: {standing.override}, until {when(standing.override_until)}"
    if standing.paused_until is not None:
        yield f"paused by the provider until {when(standing.paused_until)}"
    if standing.share < 1:
        share = f"lowered to {standing.share:.0%} of the policy after refusals"
        yield f"{share}; whole again {when(standing.share_whole_at)}"
    for breaker in standing.breakers:
        if breaker.state != "closed":
            yield (
                f"breaker {breaker.state} at {breaker.host} after {breaker.failures} failures;"
                f" next probe {when(breaker.until)}"
                f" (or: tieline limits reset-breaker {account.accounts[0].row.name})"
            )


def _limit_of(window: Usage) -> str:
    per = _PERIODS.get(window.period_s) or f"{window.period_s} s"
    return f"{window.limit}/{per}"


def _bar(window: Usage | InFlight) -> str:
    full = min(_BAR, round(_BAR * window.used / max(1, window.lowered)))
    return "█" * full + "░" * (_BAR - full)


def _facts(account: AccountLimits) -> dict[str, Any]:
    standing = account.standing
    flight = standing.in_flight
    return {
        "connections": [each.row.name for each in account.accounts],
        "provider": account.accounts[0].row.provider,
        "account": account.accounts[0].row.account_id,
        "windows": [
            {
                "counts": window.label,
                "scope": window.scope,
                "limit": window.limit,
                "period_s": window.period_s,
                "allowed": window.lowered,
                "used": window.used,
                "waiting": window.waiting,
                "by_class": dict(window.by_class),
                "resets_at": window.resets_at,
            }
            for window in standing.windows
        ],
        "in_flight": flight
        and {
            "limit": flight.limit,
            "allowed": flight.lowered,
            "used": flight.used,
            "waiting": flight.waiting,
        },
        "calls": dict(standing.calls),
        "refused": standing.refused,
        "paused_until": standing.paused_until,
        "share": round(standing.share, 3),
        "share_whole_at": standing.share_whole_at,
        "override": standing.override or None,
        "override_until": standing.override_until,
        "breakers": [
            {
                "host": breaker.host,
                "state": breaker.state,
                "failures": breaker.failures,
                "until": breaker.until,
            }
            for breaker in standing.breakers
        ],
    }
