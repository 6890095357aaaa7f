"""The core's own errors, grouped by what happens next.

```
TielineError
├── SettingsError                (contract) refuse to start; names the variable
├── PluginError                  leave this plugin out; the others go on
│   ├── PluginLoadError          it did not import, or a hook of it raised
│   ├── ContractVersionError     made for another contract
│   └── DeclarationError         what it declared makes no sense
├── ProviderError …              (contract)
├── VaultError
│   ├── KeyUnavailableError      put off
│   └── SealBrokenError          fail loudly, never guess
├── DependencyError              database or Redis is away
├── InvalidInputError            tell the caller what, where, and why
│   └── NotFoundError            nothing of that name
├── AccessError                  whoever asks may not; tell no more than that
├── WorkerLostError              worker after worker died on the same page
└── RefusedError                 the present state forbids it; say what would allow it
    └── ChangedError             somebody changed it since it was read
signals (BaseException): StopRequested, LeaseLost, Overtaken
```
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from tieline.contract.errors import SettingsError, TielineError

__all__ = [
    "AccessError",
    "ChangedError",
    "ContractVersionError",
    "DeclarationError",
    "DependencyError",
    "InvalidInputError",
    "KeyUnavailableError",
    "LeaseLost",
    "NotFoundError",
    "Overtaken",
    "PluginError",
    "PluginLoadError",
    "RefusedError",
    "SealBrokenError",
    "SettingsError",
    "StopRequested",
    "TielineError",
    "VaultError",
    "WorkerLostError",
    "nearest",
]


class PluginError(TielineError):
    """A plugin is at fault; it is left out and the others go on."""

    code = "plugin-broken"


class PluginLoadError(PluginError):
    """The plugin did not import, or one of its hooks raised."""

    code = "plugin-load"


class ContractVersionError(PluginError):
    """The plugin was made for another version of the contract."""

    code = "plugin-contract-version"


class DeclarationError(PluginError):
    """What the plugin declared makes no sense."""

    code = "plugin-declaration"


class VaultError(TielineError):
    """A credential cannot be sealed or opened."""

    code = "vault"


class KeyUnavailableError(VaultError):
    """The key is not to be had now."""

    code = "key-unavailable"


class SealBrokenError(VaultError):
    """The sealed bytes do not belong here, were changed, or need another key."""

    code = "seal-broken"


class DependencyError(TielineError):
    """The database or Redis does not answer, or is not as we need it."""

    code = "dependency-down"


class InvalidInputError(TielineError):
    """What was asked for makes no sense; nothing was done.

    Args:
        message: As for every error.
        hint: As for every error.
        code: As for every error.
        fields: Each field that is wrong, and what is wrong with it, for
            whoever can show that beside the field; the message says it too.
    """

    code = "invalid-input"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str | None = None,
        fields: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.fields = fields


class NotFoundError(InvalidInputError):
    """There is nothing of that name."""

    code = "not-found"


class AccessError(TielineError):
    """Whoever asks has no token that is good, or not for this."""

    code = "access-denied"


class WorkerLostError(TielineError):
    """Worker after worker died on the same page."""

    code = "worker-lost"


class RefusedError(TielineError):
    """The present state forbids it."""

    code = "refused"


class ChangedError(RefusedError):
    """It is not as whoever asks has seen it; nothing was done."""

    code = "changed"


class StopRequested(BaseException):
    """This process was asked to stop: finish the page and leave."""


class LeaseLost(BaseException):
    """Another worker holds the partition now: change nothing more."""


class Overtaken(BaseException):
    """A record changed between its comparison and its write: compare again."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest what somebody may have meant.

    Args:
        name: What was typed.
        known: What exists.

    Returns:
        ``"did you mean …?"``, else a list of what there is, else ``""``.
    """
    names = sorted(known)
    if close := get_close_matches(name, names, n=1):
        return f"did you mean {close[0]}?"
    return f"there is: {', '.join(names)}" if names else ""
