"""What KMS, or the way to it, says went wrong, as our errors."""

from __future__ import annotations

from typing import Any

from tieline.contract.errors import SettingsError, TielineError
from tieline.errors import KeyUnavailableError, SealBrokenError
from tieline.vault.envelope import Context

# ruff: noqa: PLC0415 - botocore is there, and imported, only where KMS is used

__all__ = ["NoAnswerError", "broken", "no_boto3", "not_now", "of_an_answer", "of_no_answer"]

# Source: AWS KMS API reference, "Common Errors", "GenerateDataKey" and "Decrypt".
_NOT_NOW = {
    "DependencyTimeoutException",
    "InternalFailure",
    "KMSInternalException",
    "KeyUnavailableException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_KEY_IS_OFF = {"DisabledException", "KMSInvalidStateException"}
_BROKEN = {"IncorrectKeyException", "InvalidCiphertextException"}


class NoAnswerError(KeyUnavailableError):
    """KMS is away, too slow, or too busy."""


def of_an_answer(answer: dict[str, Any]) -> TielineError:
    """Turn a refusal into our error. Its text is left out: it names users and roles."""
    code = str(answer.get("Error", {}).get("Code", ""))
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _BROKEN:
        return SealBrokenError("KMS did not seal that")
    if code in _NOT_NOW or status >= 500:
        return not_now(code or str(status))
    if code in _KEY_IS_OFF:
        return KeyUnavailableError(
            f"the key in AWS KMS is disabled or about to be deleted ({code})",
            hint="enable it in KMS, or cancel its deletion",
        )
    return KeyUnavailableError(
        f"AWS KMS refuses the key ({code or status})",
        hint="check TIELINE_KMS_KEY_ID, TIELINE_KMS_REGION, the AWS credentials of this process,"
        " and its rights kms:GenerateDataKey and kms:Decrypt",
    )


def of_no_answer(error: Exception) -> TielineError:
    """Turn a call that had no answer, or was never made, into our error."""
    from botocore import exceptions as known

    kind = type(error).__name__
    if isinstance(error, (known.ConnectionError, known.HTTPClientError)):
        return not_now(kind)
    if isinstance(error, known.NoRegionError):
        return SettingsError(
            "it is not known in which region the key is",
            hint="set TIELINE_KMS_REGION, or the key's ARN as TIELINE_KMS_KEY_ID",
        )
    if isinstance(error, known.ParamValidationError):
        return SettingsError("TIELINE_KMS_KEY_ID is no key id, ARN or alias")
    return KeyUnavailableError(
        f"AWS KMS cannot be asked ({kind})",
        hint="check the AWS credentials of this process: environment, profile or instance role",
    )


def not_now(why: str) -> KeyUnavailableError:
    """Say that KMS may answer later."""
    return NoAnswerError(
        f"AWS KMS, which keeps the key of the credentials, does not answer now ({why})",
        hint="try again in a minute; tieline doctor",
    )


def broken(context: Context) -> SealBrokenError:
    """Say that a wrapped data key was changed, or belongs elsewhere."""
    return SealBrokenError(
        f"the sealed {context.field!r} of {context.connection_id} belongs elsewhere",
        hint="connect the account again",
    )


def no_boto3() -> SettingsError:
    """Say what to install."""
    return SettingsError(
        "keys in AWS KMS need the package boto3, which is not installed",
        hint="pip install 'tieline[aws]'",
    )
