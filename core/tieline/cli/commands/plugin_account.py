"""The account whose answers ``tieline plugin record`` and ``check --live`` ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tieline.cli.face import installation
from tieline.cli.pairs import pairs_of
from tieline.cli.secrets import read_pair, read_secret
from tieline.contract import ApiKey, Basic, Secret
from tieline.errors import InvalidInputError

if TYPE_CHECKING:
    from tieline.checks import Case
    from tieline.checks.record import Account, Recorder

__all__ = ["AskedAccount", "account_options"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedAccount:
    """What options say of an account.

    Attributes:
        is_live: The provider is asked, not the sandbox.
        connection: One that there is here, by name or id; empty: a key is given.
        key_stdin: The key is on stdin.
        key_file: It is in this file; None: it is asked for.
        environment: The provider's; empty for its first.
        base_url: Where its API is; empty for its own address.
        given: Settings as they were typed.
    """

    is_live: bool
    connection: str
    key_stdin: bool
    key_file: Path | None
    environment: str
    base_url: str
    given: tuple[str, ...]

    def require_sense(self) -> None:
        """Refuse options that do not go together.

        Raises:
            UsageError: An account is named where none is asked, or two are.
        """
        by_key = self.key_stdin or self.key_file is not None
        by_key = by_key or bool(self.environment or self.base_url or self.given)
        if (self.connection or by_key) and not self.is_live:
            raise click.UsageError(
                "the sandbox needs no account: with --live the provider is asked"
            )
        if self.connection and by_key:
            raise click.UsageError("--connection has its own key, address and settings")

    @contextmanager
    def opened(self, case: Case) -> Iterator[Recorder]:
        """Open the account: of a connection, of a key, or the sandbox's.

        Raises:
            InvalidInputError: It is another provider's, or no key can be had.
            RefusedError: The connection is paused.
            NeedsReauthError: The key is refused.
            ProviderError: The provider did not answer, or said no.
        """
        from tieline.checks.record import at_provider, at_sandbox

        if self.connection:
            source = self._at_connection(case)
        elif self.is_live:
            source = at_provider(case, self._account(case))
        else:
            source = at_sandbox(case)
        with source as recorder:
            yield recorder

    def _account(self, case: Case) -> Account:
        from tieline.checks.record import Account

        auth, title = case.plugin.auth, case.plugin.provider.title
        username, secret = "", Secret("")
        if any(isinstance(each, ApiKey) for each in auth):
            secret = read_secret(f"{title} API key", from_stdin=self.key_stdin, file=self.key_file)
            secret = Secret(secret.reveal().strip())
        elif any(isinstance(each, Basic) for each in auth):
            username, secret = read_pair(title, from_stdin=self.key_stdin, file=self.key_file)
        return Account(
            secret=secret,
            username=username,
            base_url=self.base_url,
            environment=self.environment,
            settings=pairs_of(self.given),
        )

    @contextmanager
    def _at_connection(self, case: Case) -> Iterator[Recorder]:
        from tieline.checks.record import at_stored
        from tieline.services.connections import get_connection
        from tieline.services.syncs import require_awake

        with installation() as opened:
            row = get_connection(opened, self.connection)
            if row.provider != case.subject.name:
                raise InvalidInputError(
                    f"{self.connection} is an account at {row.provider}, not {case.subject.name}"
                )
            require_awake(row)
            with at_stored(opened, row.id) as recorder:
                yield recorder


_OPTIONS = (
    click.option(
        "--connection", default="", help="With --live: by a connection that there is here."
    ),
    click.option("--key-stdin", is_flag=True, help="Read the key, or user:password, from stdin."),
    click.option(
        "--key-file",
        type=click.Path(path_type=Path),
        help="Read the key, or user:password, from a file.",
    ),
    click.option(
        "--environment", default="", help="The provider's environment, such as `sandbox`."
    ),
    click.option("--base-url", default="", help="Another address of the API."),
    click.option(
        "--set", "given", metavar="NAME=VALUE", multiple=True, help="Set what it may set."
    ),
)


def account_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command with ``--live`` the options that name an account, as one ``account``."""

    @wraps(command)
    def with_account(
        *,
        is_live: bool,
        connection: str,
        key_stdin: bool,
        key_file: Path | None,
        environment: str,
        base_url: str,
        given: tuple[str, ...],
        **rest: Any,
    ) -> Any:
        account = AskedAccount(
            is_live=is_live,
            connection=connection,
            key_stdin=key_stdin,
            key_file=key_file,
            environment=environment,
            base_url=base_url,
            given=given,
        )
        account.require_sense()
        return command(account=account, **rest)

    decorated: Callable[..., Any] = with_account
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated
