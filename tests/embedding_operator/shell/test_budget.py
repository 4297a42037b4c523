"""A few services roll at a time for what their users did not change, in the order they asked."""

from embedding_operator.core.plan import Budget
from embedding_operator.shell.budget import RolloutBudget


class Rollouts:
    """A budget, and the keys that it woke."""

    def __init__(self, slots: int = 2) -> None:
        self.woken: list[str] = []
        self.budget: RolloutBudget[str] = RolloutBudget(slots, self.woken.append)

    def plan(self, key: str, *, has_change: bool = True) -> bool:
        """As the controller does: whether the change may be made."""
        may_roll = self.budget.may_roll(key)
        need = Budget.NONE if not has_change else Budget.TAKES if may_roll else Budget.WAITS
        self.budget.settle(key, need)
        return may_roll


def test_no_more_roll_than_there_are_slots() -> None:
    rollouts = Rollouts(slots=2)
    assert [rollouts.plan(key) for key in "abc"] == [True, True, False]
    assert rollouts.budget.in_use == 2


def test_a_holder_keeps_its_slot_until_it_is_done() -> None:
    rollouts = Rollouts(slots=1)
    assert rollouts.plan("a")
    assert rollouts.plan("a")
    assert not rollouts.plan("b")
    assert rollouts.woken == []


def test_a_slot_that_is_free_goes_to_the_one_that_waits_longest() -> None:
    rollouts = Rollouts(slots=1)
    for key in "abcb":
        rollouts.plan(key)
    rollouts.plan("a", has_change=False)
    assert rollouts.woken == ["b"]
    assert rollouts.plan("b")
    assert not rollouts.plan("c")


def test_one_that_needs_its_turn_no_more_passes_it_on() -> None:
    rollouts = Rollouts(slots=1)
    for key in "abc":
        rollouts.plan(key)
    rollouts.plan("a", has_change=False)
    rollouts.plan("b", has_change=False)
    assert rollouts.woken == ["b", "c"]


def test_one_that_fails_while_it_waits_passes_its_turn_on() -> None:
    rollouts = Rollouts(slots=1)
    for key in "abc":
        rollouts.plan(key)
    rollouts.plan("a", has_change=False)
    rollouts.budget.failed("b")
    assert rollouts.woken == ["b", "c"]


def test_one_that_fails_while_it_rolls_keeps_its_slot_so_that_a_bad_change_spreads_no_further() -> None:
    rollouts = Rollouts(slots=1)
    rollouts.plan("a")
    rollouts.budget.failed("a")
    assert not rollouts.plan("b")


def test_a_service_that_is_deleted_frees_its_slot() -> None:
    rollouts = Rollouts(slots=1)
    rollouts.plan("a")
    rollouts.plan("b")
    rollouts.budget.forget("a")
    assert rollouts.woken == ["b"]


def test_after_a_start_no_slot_is_given_before_all_holders_are_known() -> None:
    rollouts = Rollouts(slots=1)
    rollouts.budget.expect(["waits", "holds", "fails"])
    assert not rollouts.plan("waits")
    rollouts.budget.settle("holds", Budget.HOLDS)  # it has been rolling since before the start
    rollouts.budget.failed("fails")
    assert rollouts.woken == []
    rollouts.plan("holds", has_change=False)
    assert rollouts.woken == ["waits"]


def test_when_all_are_known_the_first_that_waited_have_their_turn() -> None:
    rollouts = Rollouts(slots=2)
    rollouts.budget.expect("abcd")
    for key in "abc":
        assert not rollouts.plan(key)
    rollouts.plan("d", has_change=False)
    assert rollouts.woken == ["a", "b"]


def test_a_rollout_that_its_user_began_has_no_slot_however_long_it_takes() -> None:
    rollouts = Rollouts(slots=1)
    rollouts.budget.settle("users", Budget.HOLDS)
    assert rollouts.plan("a")
