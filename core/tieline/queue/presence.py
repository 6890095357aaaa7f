"""Which workers and schedulers are alive: each says so every few seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import orjson
from redis import Redis

from tieline.coordination.away import redis_errors

__all__ = ["Presence", "WorkerSign"]

Role = Literal["worker", "scheduler"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSign:
    """What a living worker or scheduler says of itself.

    Attributes:
        name: ``host:pid``.
        queues: What it listens to; nothing for a scheduler.
        busy_with: The job at hand; empty when idle.
        version: Of its Tieline.
    """

    name: str
    queues: tuple[str, ...]
    busy_with: str
    version: str


class Presence:
    """Signs of life, in Redis, that vanish by themselves.

    Args:
        client: Redis, or Valkey.
        role: Whose signs.
    """

    def __init__(self, client: Redis, *, role: Role = "worker") -> None:
        self._client = client
        self._prefix = f"tieline:{role}:"

    def announce(self, sign: WorkerSign, *, ttl_s: float) -> None:
        """Say that one lives for the next ``ttl_s`` seconds.

        Raises:
            DependencyError: Redis does not answer.
        """
        told = {"queues": sign.queues, "busy_with": sign.busy_with, "version": sign.version}
        with redis_errors():
            self._client.set(self._prefix + sign.name, orjson.dumps(told), px=int(ttl_s * 1000))

    def withdraw(self, name: str) -> None:
        """Say that one leaves.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            self._client.delete(self._prefix + name)

    def alive(self) -> list[WorkerSign]:
        """List the living ones by name.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            names = sorted(self._client.scan_iter(f"{self._prefix}*", count=1000))
            found = self._client.mget(names) if names else []
        signs = []
        for name, told in zip(names, found, strict=True):
            if told is not None:
                said = orjson.loads(told)
                signs.append(
                    WorkerSign(
                        name=name.decode().removeprefix(self._prefix),
                        queues=tuple(said["queues"]),
                        busy_with=said["busy_with"],
                        version=said["version"],
                    )
                )
        return signs
