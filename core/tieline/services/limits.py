"""Show how the accounts stand with their providers' limits; correct that for a while."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from tieline.auth import connection_of
from tieline.contract import Connection, RateLimitPolicy, TielineError
from tieline.engine.timetable import read_duration_s
from tieline.errors import InvalidInputError, NotFoundError, PluginError, SettingsError, nearest
from tieline.services.connections import get_connection, list_connections
from tieline.services.installation import Installation
from tieline.store import log
from tieline.store.connections import ConnectionRow
from tieline.throttle import Ledger, Standing, policy_of, read_override
from tieline.throttle.keys import place_of

__all__ = [
    "Account",
    "AccountLimits",
    "account_of",
    "accounts_of",
    "limits_of",
    "reset_breaker",
    "reset_limits",
    "set_limits",
    "show_limits",
]

_SHORT = {"s": "second", "m": "minute", "h": "hour", "d": "day"}
_LONGEST_S = 30 * 86400


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """One connection, as the throttle knows it.

    Attributes:
        row: The connection.
        connection: The same, as plugins are handed it.
        policy: What settings and plugin say.
        title: How its provider writes itself.
        place: What is counted together: connections of one account have the same.
    """

    row: ConnectionRow
    connection: Connection
    policy: RateLimitPolicy
    title: str
    place: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountLimits:
    """How one account stands now.

    Attributes:
        accounts: Its connections; nearly always one.
        standing: What the throttle keeps.
    """

    accounts: Sequence[Account]
    standing: Standing

    @property
    def names(self) -> str:
        """The names of its connections."""
        return ", ".join(account.row.name for account in self.accounts)


def accounts_of(
    installation: Installation, rows: Iterable[ConnectionRow] | None = None
) -> Iterator[Account]:
    """Go through connections, all if none are given; one whose plugin is broken is passed over."""
    for row in list_connections(installation) if rows is None else rows:
        try:
            yield account_of(installation, row)
        except (PluginError, NotFoundError, SettingsError):
            continue


def show_limits(installation: Installation, connection: str | None = None) -> list[AccountLimits]:
    """Say how the accounts stand: all, or that of one connection.

    Raises:
        NotFoundError: There is no such connection.
        DependencyError: Database or Redis does not answer.
    """
    every = list(accounts_of(installation))
    if connection is not None:
        asked = account_of(installation, get_connection(installation, connection))
        every = [account for account in every if account.place == asked.place]
    return _standings(Ledger(installation.redis), _by_place(every))


def limits_of(installation: Installation, rows: Iterable[ConnectionRow]) -> list[AccountLimits]:
    """Say how the accounts of some connections stand; of an account those alone are named.

    Raises:
        DependencyError: Redis does not answer.
    """
    return _standings(Ledger(installation.redis), _by_place(list(accounts_of(installation, rows))))


def set_limits(
    installation: Installation,
    name: str,
    text: str,
    *,
    lasting: str,
    actor: str,
    is_provider: bool = False,
) -> list[AccountLimits]:
    """Let other limits hold for a while; every process obeys at its next call.

    Args:
        installation: Where.
        name: A connection, or a provider: all its accounts, each on its own.
        text: Such as ``40/second; 10/second endpoint; concurrency=4``, or
            ``none``; ``40/s`` is understood too.
        lasting: How long, such as ``2h``; 30 days at most.
        actor: Who says so, for the sync log.
        is_provider: The name is a provider's, even if a connection has it too.

    Raises:
        NotFoundError: There is neither such a connection nor such a provider's.
        InvalidInputError: The limits or the time make no sense; nothing was set.
        DependencyError: Database or Redis does not answer.
    """
    seconds = read_duration_s(lasting.strip(), field="for", least_s=10)
    if seconds > _LONGEST_S:
        raise InvalidInputError(
            f"for: {lasting!r} is out of range: 30 d at most",
            hint="what is to hold longer is a setting: TIELINE_<PROVIDER>_RATE_LIMITS",
        )
    found = _by_place(_named(installation, name, is_provider=is_provider))
    text = re.sub(r"/ ?(\d* ?)([smhd])\b", lambda got: f"/{got[1]}{_SHORT[got[2]]}", text)
    for together in found:
        _require_limits(together[0], text)
    ledger = Ledger(installation.redis)
    until = installation.clock.now() + timedelta(seconds=seconds)
    for together in found:
        ledger.set_override(together[0].connection, together[0].policy, text, until=until)
    _note(installation, found, actor, "limits.set", f"{text}, until {until:%Y-%m-%d %H:%M:%S} UTC")
    return _standings(ledger, found)


def reset_limits(
    installation: Installation, name: str, *, actor: str, is_provider: bool = False
) -> list[AccountLimits]:
    """Let the policy hold again, whole and at once: no override, no pause, nothing learned.

    Args:
        installation: Where.
        name: A connection, or a provider: all its accounts.
        actor: Who says so.
        is_provider: The name is a provider's, even if a connection has it too.

    Raises:
        NotFoundError: There is neither such a connection nor such a provider's.
        DependencyError: Database or Redis does not answer.
    """
    found = _by_place(_named(installation, name, is_provider=is_provider))
    ledger = Ledger(installation.redis)
    for together in found:
        ledger.clear_override(together[0].connection, together[0].policy)
        ledger.reset_learned(together[0].connection, together[0].policy)
    _note(installation, found, actor, "limits.reset", "")
    return _standings(ledger, found)


def reset_breaker(installation: Installation, name: str, *, actor: str) -> bool:
    """Close the breakers of a connection at once; False if none was open or counted.

    Raises:
        NotFoundError: There is no such connection.
        DependencyError: Database or Redis does not answer.
    """
    account = account_of(installation, get_connection(installation, name))
    was_there = Ledger(installation.redis).reset_breaker(account.connection)
    if was_there:
        _note(installation, [[account]], actor, "limits.breaker_reset", "")
    return was_there


def account_of(installation: Installation, row: ConnectionRow) -> Account:
    """Return a connection as the throttle knows it; asks neither Redis nor the provider.

    Raises:
        PluginError: The provider's plugin is broken.
        SettingsError: The limits that are set make no sense.
    """
    plugin = installation.registry.get(row.provider)
    connection = connection_of(row, plugin)
    declared = plugin.rate_limits(connection)
    policy = policy_of(plugin.name, declared, installation.settings.rate_limits, row.name)
    return Account(
        row=row,
        connection=connection,
        policy=policy,
        title=plugin.provider.title,
        place=place_of(connection, policy),
    )


def _named(installation: Installation, name: str, *, is_provider: bool) -> list[Account]:
    row = None
    if not is_provider:
        with suppress(NotFoundError):
            row = get_connection(installation, name)
    every = list(accounts_of(installation))
    if row is None:
        of_provider = [account for account in every if account.row.provider == name]
        if of_provider:
            return of_provider
        known = [account.row.name for account in every] + [a.row.provider for a in every]
        raise NotFoundError(
            f"there is no connection {name!r}, and none to such a provider",
            hint=nearest(name, known) or "tieline connections list",
            code="connection-unknown",
        )
    asked = account_of(installation, row)
    return [account for account in every if account.place == asked.place]


def _by_place(accounts: Sequence[Account]) -> list[list[Account]]:
    found: dict[str, list[Account]] = {}
    for account in accounts:
        found.setdefault(account.place, []).append(account)
    return list(found.values())


def _require_limits(account: Account, text: str) -> None:
    try:
        policy = read_override(account.row.provider, text, account.policy)
    except TielineError as error:
        raise InvalidInputError(
            f"limits: {text!r} makes no sense",
            hint=error.hint or "for example: 8/second",
            fields=[("limits", "makes no sense")],
        ) from error
    if not policy.rates and policy.concurrency is None and text.strip() != "none":
        raise InvalidInputError("limits: nothing is limited", hint="to mean it, write: none")


def _standings(ledger: Ledger, found: Sequence[Sequence[Account]]) -> list[AccountLimits]:
    return [
        AccountLimits(
            accounts=together, standing=ledger.standing(together[0].connection, together[0].policy)
        )
        for together in found
    ]


def _note(
    installation: Installation,
    found: Sequence[Sequence[Account]],
    actor: str,
    event: str,
    detail: str,
) -> None:
    with installation.database.write() as transaction:
        for account in (account for together in found for account in together):
            log.add_entry(
                transaction,
                at=installation.clock.now(),
                actor=actor,
                event=event,
                connection_id=account.row.id,
                detail=detail,
            )
