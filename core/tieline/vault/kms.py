"""Data keys from AWS KMS: the key that wraps them never leaves it."""

from __future__ import annotations

import logging
import os
import re
from importlib.util import find_spec
from typing import Any

from tieline.clock import Clock, SystemClock
from tieline.contract.errors import SettingsError, TielineError
from tieline.errors import KeyUnavailableError, SealBrokenError
from tieline.telemetry import get_logger
from tieline.vault.cache import DataKeyCache, place_of
from tieline.vault.envelope import Context
from tieline.vault.kms_errors import (
    NoAnswerError,
    broken,
    no_boto3,
    not_now,
    of_an_answer,
    of_no_answer,
)

# boto3 takes a third of a second to import, and is there only where KMS is used.
# ruff: noqa: PLC0415

__all__ = ["KmsKeys"]

_log = get_logger(__name__)

_FRESH_S = 60.0
_REST_S = 5.0
_ATTEMPTS = 2
_KEY_BYTES = 32
_MOST_WRAPPED_BYTES = 6144
_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):\d{12}:key/[A-Za-z0-9-]+")
_LOUD = ("boto3", "botocore", "urllib3")
_IN_ANSWER = {
    "generate_data_key": {"KeyId", "Plaintext", "CiphertextBlob"},
    "decrypt": {"KeyId", "Plaintext"},
}


class KmsKeys:
    """Asks AWS KMS for data keys, with the context as encryption context.

    A data key that KMS gave serves this process for five minutes, no longer.
    From one minute on KMS is asked again at each use, and the kept key serves
    on only where that fails: what is in use all the time outlasts an outage of
    four minutes. After a call without an answer the next is not tried for five
    seconds, so that nobody queues at a KMS that is down.

    Args:
        key_id: Key id, key ARN, alias or alias ARN to seal under; empty to
            only open what was sealed before.
        region: Its region; empty: the ARN's, else as boto3 finds out.
        endpoint_url: Where KMS is; empty: where AWS has it.
        clock: For the age of data keys.
        connect_timeout_s: Seconds for one attempt to reach KMS; two are made.
        read_timeout_s: Seconds for an answer to one attempt.

    Raises:
        SettingsError: There is a key to seal under, and boto3 is not installed.
    """

    kind = "kms"

    def __init__(
        self,
        key_id: str,
        *,
        region: str = "",
        endpoint_url: str = "",
        clock: Clock | None = None,
        connect_timeout_s: float = 3,
        read_timeout_s: float = 5,
    ) -> None:
        if key_id and find_spec("boto3") is None:
            raise no_boto3()
        self._key_id = key_id
        self._region = region
        self._endpoint_url = endpoint_url
        self._clock = clock or SystemClock()
        self._timeouts = {"connect_timeout": connect_timeout_s, "read_timeout": read_timeout_s}
        self._cache = DataKeyCache(self._clock.monotonic)
        # Of this process alone: a fork must not talk on its parent's sockets.
        self._clients: dict[tuple[int, str], Any] = {}
        self._rest_until: dict[str, float] = {}

    def new_data_key(self, context: Context) -> tuple[str, bytes, bytes]:
        """Return the ARN of the key that wraps, a fresh data key and its wrapped form.

        Raises:
            KeyUnavailableError: KMS does not answer, or refuses the key.
            SettingsError: KMS cannot be asked as things are set.
        """
        answer = self._ask(
            self._region or _region_of(self._key_id),
            "generate_data_key",
            KeyId=self._key_id,
            KeySpec="AES_256",
            EncryptionContext=context.as_mapping(),
        )
        key_id, data_key, wrapped = answer["KeyId"], answer["Plaintext"], answer["CiphertextBlob"]
        self._cache.put(place_of(key_id, wrapped, context), data_key)
        return key_id, data_key, wrapped

    def unwrap(self, key_id: str, wrapped: bytes, context: Context) -> bytes:
        """Return the data key.

        Raises:
            KeyUnavailableError: KMS does not answer, or refuses the key, and did
                not give it within the last five minutes.
            SealBrokenError: The wrapped key is not of that key and context.
            SettingsError: KMS cannot be asked as things are set.
        """
        if not _ARN.fullmatch(key_id) or not 0 < len(wrapped) <= _MOST_WRAPPED_BYTES:
            raise broken(context)
        place = place_of(key_id, wrapped, context)
        if (data_key := self._cache.get(place, younger_than_s=_FRESH_S)) is not None:
            return data_key
        try:
            data_key = self._decrypt(key_id, wrapped, context)
        except KeyUnavailableError as error:
            if (data_key := self._cache.get(place)) is None:
                raise
            _log.warning("a data key of the last minutes serves on", reason=error.message)
            return data_key
        self._cache.put(place, data_key)
        return data_key

    def _decrypt(self, key_id: str, wrapped: bytes, context: Context) -> bytes:
        try:
            answer = self._ask(
                _region_of(key_id),
                "decrypt",
                KeyId=key_id,
                CiphertextBlob=wrapped,
                EncryptionContext=context.as_mapping(),
            )
        except SealBrokenError:
            raise broken(context) from None
        data_key: bytes = answer["Plaintext"]
        if answer["KeyId"] != key_id or len(data_key) != _KEY_BYTES:
            raise broken(context)
        return data_key

    def _ask(self, region: str, operation: str, **given: Any) -> dict[str, Any]:
        """Call KMS once, as far as the caller can tell."""
        if self._clock.monotonic() < self._rest_until.get(region, 0.0):
            raise not_now("no answer a moment ago")
        client = self._client(region)
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            answer: dict[str, Any] = getattr(client, operation)(**given)
        except ClientError as error:
            raise self._noted(region, of_an_answer(error.response)) from None
        except BotoCoreError as error:
            # One without AWS credentials would never look for them again.
            self._clients.pop((os.getpid(), region), None)
            raise self._noted(region, of_no_answer(error)) from None
        except (ResponseParserError, ValueError):
            raise self._noted(region, not_now("not an answer of KMS")) from None
        if not _IN_ANSWER[operation] <= answer.keys():
            raise self._noted(region, not_now("not an answer of KMS"))
        return answer

    def _client(self, region: str) -> Any:
        """Return this process's client; two threads may make one each, once."""
        place = (os.getpid(), region)
        if (client := self._clients.get(place)) is None:
            client = self._clients[place] = self._new_client(region)
        return client

    def _new_client(self, region: str) -> Any:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ModuleNotFoundError:
            raise no_boto3() from None
        for name in _LOUD:  # at DEBUG they log answers with the data keys in them
            logging.getLogger(name).setLevel(logging.WARNING)
        options = Config(
            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
            max_pool_connections=64,
            **self._timeouts,
        )
        try:
            # A session each: boto3's own is not to be shared between threads.
            return boto3.session.Session().client(
                "kms",
                region_name=region or None,
                endpoint_url=self._endpoint_url or None,
                config=options,
            )
        except ValueError:
            raise SettingsError("TIELINE_KMS_ENDPOINT_URL or TIELINE_KMS_REGION is wrong") from None
        except BotoCoreError as error:
            raise of_no_answer(error) from None

    def _noted(self, region: str, error: TielineError) -> TielineError:
        if isinstance(error, NoAnswerError):
            self._rest_until[region] = self._clock.monotonic() + _REST_S
        return error


def _region_of(key_id: str) -> str:
    found = re.match(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):", key_id)
    return found[1] if found else ""
