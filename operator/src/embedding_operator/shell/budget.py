"""The rollout budget: how many services replace their pods at once for changes that their users did not make."""

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from embedding_operator.core.plan import Budget

__all__ = ["RolloutBudget"]

K = TypeVar("K", bound=Hashable)


class RolloutBudget(Generic[K]):
    """Slots, and the keys that wait for one in the order they came. `wake` is called with a key whose turn it is.

    After a restart it is unknown which services hold a slot: every service that is rolling out counts, and no other
    slot is given before every expected key has been planned once. Later a user's own rollout takes no slot, however
    long it lasts. A key that fails keeps the slot it has, so that a change that breaks services breaks no more of them
    than there are slots.
    """

    def __init__(self, slots: int, wake: Callable[[K], object]) -> None:
        self._slots = slots
        self._wake = wake
        self._holders: set[K] = set()
        self._waiting: dict[K, None] = {}
        self._unplanned: set[K] = set()

    @property
    def in_use(self) -> int:
        """Slots that are taken."""
        return len(self._holders)

    def expect(self, keys: Iterable[K]) -> None:
        """Give no slot before each of these has been planned, has failed or is gone."""
        self._unplanned.update(keys)

    def may_roll(self, key: K) -> bool:
        """It holds a slot, or one is free for it. Plan and `settle` follow without an await in between."""
        return key in self._holders or self._free > 0

    def settle(self, key: K, need: Budget) -> None:
        """Take note of what its plan needs."""
        rolls = need in {Budget.TAKES, Budget.HOLDS}
        leaves = not rolls and key in self._holders
        if need is Budget.TAKES or (rolls and key in self._unplanned):
            self._holders.add(key)
        elif not rolls:
            self._holders.discard(key)
        if need is Budget.WAITS:
            self._waiting.setdefault(key)
        elif key in self._waiting:
            del self._waiting[key]
            leaves = True
        self._planned(key, wakes=leaves)

    def failed(self, key: K) -> None:
        """It could not be planned: it waits no longer, and waits again when its next plan says so."""
        waited = key in self._waiting
        self._waiting.pop(key, None)
        self._planned(key, wakes=waited)

    def forget(self, key: K) -> None:
        """The key's object was deleted."""
        self.settle(key, Budget.NONE)

    @property
    def _free(self) -> int:
        return 0 if self._unplanned else self._slots - len(self._holders)

    def _planned(self, key: K, *, wakes: bool) -> None:
        if key in self._unplanned:
            self._unplanned.discard(key)
            wakes = wakes or not self._unplanned
        if wakes:
            for waiting in list(self._waiting)[: max(0, self._free)]:
                self._wake(waiting)
