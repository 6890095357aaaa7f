"""``tieline plugin check --live``: the first page that a provider sends, beside the schema."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from tieline.cli.commands.plugin_account import AskedAccount
from tieline.cli.face import flush, note, print_json, write_line
from tieline.cli.failures import code_of
from tieline.contract import ProviderUnavailableError
from tieline.telemetry.redact import redact

if TYPE_CHECKING:
    from tieline.checks.drift import Compared, Drift
    from tieline.checks.live import Look
    from tieline.checks.record import Recorder

__all__ = ["check_live", "lines_of", "plain"]

_MOST_LINES = 40


def check_live(
    named: str, account: AskedAccount, entities: tuple[str, ...], *, as_json: bool
) -> int:
    """Look at the first page of each entity, tell how it differs, and return the exit code."""
    from tieline.checks import Case, find_subject
    from tieline.checks.live import look_at_each

    subject = find_subject(named)
    with Case(subject) as case, ExitStack() as stack:
        recorder = _opened(stack, account, case)
        plugin = recorder.plugin
        chosen = [plugin.entity(name) for name in dict.fromkeys(entities or plugin.entities)]
        title, looks = plugin.provider.title, []
        if not as_json:
            _name_account(recorder)
        for look in look_at_each(subject, recorder, chosen):
            looks.append(look)
            if not as_json:
                _show(look, title)
        left = [each.name for each in chosen[len(looks) :]]
        if as_json:
            print_json(_document(recorder, looks, left))
        elif left:
            note(f"  not asked {', '.join(left)}")
    return _exit_code(looks)


def _opened(stack: ExitStack, account: AskedAccount, case: Any) -> Recorder:
    from tieline.checks.bound import bounded
    from tieline.checks.live import MOST_S

    try:
        with bounded(MOST_S):
            return stack.enter_context(account.opened(case))
    except TimeoutError:
        raise ProviderUnavailableError(
            f"asking whose account it is took longer than {MOST_S:.0f} s",
            hint="try again; if it stays so, look at identify of the plugin",
        ) from None


def _exit_code(looks: Sequence[Look]) -> int:
    """Exit as the first entity that could not be read; 1 if a record would be quarantined."""
    codes = [code_of(look.error) for look in looks if look.error is not None]
    return codes[0] if codes else int(not all(look.fits for look in looks))


def _name_account(recorder: Recorder) -> None:
    connection = recorder.opened.connection
    name = plain(connection.account.name or connection.account.id or "")
    note(f"  {recorder.plugin.provider.title} at {connection.base_url}{name and f': {name}'}")


def _show(look: Look, title: str) -> None:
    if look.compared is not None:
        lines = lines_of(look.entity, look.compared, title=title, is_all=look.is_all)
    else:
        lines = _lines_of_error(look)
    for line in lines:
        write_line(line.encode())
    flush()


def _lines_of_error(look: Look) -> Iterator[str]:
    assert look.error is not None
    yield f"{look.entity}: {plain(look.error.message)} ({look.error.slug})"
    if look.error.hint:
        yield f"    do    {plain(look.error.hint)}"


def lines_of(
    name: str, compared: Compared, *, title: str, is_all: bool | None = None
) -> Iterator[str]:
    """Write how records differ from their schema as people read a difference of two files.

    Args:
        name: Of the entity.
        compared: What was found.
        title: The provider's.
        is_all: Whether there are no more records; None: nobody asks.
    """
    more = "" if is_all is None else ", and that is all" if is_all else ", and there are more"
    yield f"{name}: {compared.count} records{more}"
    if not compared.count:
        yield "    no records came: an empty account shows little"
        return
    if not compared.drift:
        yield "    as the schema promises"
        return
    yield f"--- {compared.where}"
    yield f"+++ {title}"
    others = []
    for each in compared.drift:
        if each.kind == "unknown" and not each.quarantined:
            others.append(each)
        else:
            yield from _lines_of(each)
    for each in others[:_MOST_LINES]:
        yield from _sides(each)
    if others[_MOST_LINES:]:
        yield f"    and {len(others) - _MOST_LINES} more; --json has all"
    if others:
        yield "    do    nothing is lost: promise those that the reference does"
    if compared.quarantined:
        yield f"    {compared.quarantined} of {compared.count} records would be quarantined"


def _lines_of(drift: Drift) -> Iterator[str]:
    yield from _sides(drift)
    yield f"    at    {drift.where}"
    yield f"    do    {plain(drift.do)}"


def _sides(drift: Drift) -> Iterator[str]:
    """Write what is promised, and what came."""
    count = f"({drift.count} of {drift.of})"
    if drift.kind == "missing":
        yield plain(f"-{drift.field}: {drift.promised}; not there {count}")
        return
    if drift.promised:
        yield plain(f"-{drift.field}: {drift.promised}")
    yield plain(f"+{drift.field}: {drift.found} {count}")


def plain(text: str) -> str:
    """Write a text in one line, without secrets and signs that nobody can see."""
    shown = redact(" ".join(text.split()))
    return "".join(sign if sign.isprintable() else "�" for sign in shown)


def _document(recorder: Recorder, looks: Sequence[Look], left: Sequence[str]) -> dict[str, Any]:
    connection = recorder.opened.connection
    return {
        "plugin": recorder.plugin.name,
        "asked": {
            "environment": connection.environment,
            "base_url": connection.base_url,
            "account": plain(connection.account.name or connection.account.id or ""),
        },
        "fits": bool(looks) and not left and all(look.fits for look in looks),
        "entities": [_without_secrets(look.as_dict() | {"error": _error(look)}) for look in looks],
        "not_asked": list(left),
    }


def _error(look: Look) -> dict[str, Any] | None:
    if look.error is None:
        return None
    return {"code": look.error.slug, "message": look.error.message, "hint": look.error.hint}


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_secrets(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return plain(value) if isinstance(value, str) else value
