"""Which keys the Secrets of a service have. Secrets are not watched, and their contents are not kept."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from embedding_operator.constants import USE_LABEL
from embedding_operator.core.objects import Raw
from embedding_operator.errors import NotFound
from embedding_operator.kinds import SECRET
from embedding_operator.shell.backoff import Backoff
from embedding_operator.shell.client import Client
from embedding_operator.shell.clock import Clock

__all__ = ["SecretReader", "Secrets"]

Needed = Mapping[str, frozenset[str]]
"""Names of keys by the name of their Secret."""

_BACKOFF = Backoff(first=20.0, most=300.0)  # the first wait is 10 to 20 s, the longest 150 to 300


@dataclass(frozen=True)
class Secrets:
    """What a service's Secrets have. `read_again`: something is missing, and no watch will report its creation."""

    keys: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    """Those of the needed keys that exist; None for a Secret that does not exist."""
    unlabelled: frozenset[str] = frozenset()
    """Secrets that lack the label which a policy may ask for."""
    read_again: timedelta | None = None


@dataclass
class _Known:
    """The last answer for one service."""

    uid: str
    generation: int | None
    needed: Needed
    secrets: Secrets
    misses: int = 0
    due_at: float | None = None


class SecretReader:
    """Reads each Secret once for a spec, and again, less and less often, while something is missing for want of which
    the spec is not accepted. Else the kubelet says what becomes of it.
    """

    def __init__(self, client: Client, clock: Clock, chance: Callable[[], float] = random.random) -> None:
        self._client = client
        self._clock = clock
        self._chance = chance
        self._known: dict[tuple[str, str], _Known] = {}
        """By namespace and name of the service."""

    async def read(self, service: Raw, needed: Needed, *, is_accepted: bool, namespace: str | None = None) -> Secrets:
        """`namespace`: that of the Secrets, if it is not the service's. Raises ClusterFault."""
        meta = service["metadata"]
        uid, generation, key = meta["uid"], meta.get("generation"), (meta.get("namespace", ""), meta["name"])
        namespace = namespace or key[0]
        if not needed:
            self.forget(*key)
            return Secrets()
        known = self._known.get(key)
        if known is None or (known.uid, known.generation, known.needed) != (uid, generation, needed):
            known = None
        elif known.due_at is None or is_accepted:
            return known.secrets
        elif known.due_at > self._clock.time():
            return self._with_wait(known)
        misses = known.misses if known else 0
        found = {name: await self._read(namespace, name, keys) for name, keys in needed.items()}
        secrets = Secrets(
            keys={name: each[0] for name, each in found.items()},
            unlabelled=frozenset(name for name, (keys, usable) in found.items() if keys is not None and not usable),
        )
        known = self._known[key] = _Known(uid, generation, needed, secrets)
        if all(secrets.keys[name] == keys for name, keys in needed.items()) and not secrets.unlabelled:
            return secrets
        known.misses = misses + 1
        known.due_at = self._clock.time() + _BACKOFF.seconds(known.misses, self._chance())
        return secrets if is_accepted else self._with_wait(known)

    def forget(self, namespace: str, name: str) -> None:
        """The service is gone, or needs none any more."""
        self._known.pop((namespace, name), None)

    def _with_wait(self, known: _Known) -> Secrets:
        seconds = max(0.0, (known.due_at or 0.0) - self._clock.time())
        return Secrets(known.secrets.keys, known.secrets.unlabelled, timedelta(seconds=seconds))

    async def _read(self, namespace: str, name: str, keys: frozenset[str]) -> tuple[frozenset[str] | None, bool]:
        """The needed keys that a Secret has, and whether services may use it."""
        try:
            secret = await self._client.get(SECRET, namespace, name)
        except NotFound:
            return None, True
        labels = secret["metadata"].get("labels") or {}
        return keys & (secret.get("data") or {}).keys(), labels.get(USE_LABEL) == "true"
