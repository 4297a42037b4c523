"""What is removed from a cache when space is lacking."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_runtime.contract import MODEL_NOTE, MOST_EVICTED, DownloadedModel, DownloadVerdict, short_path
from embedding_runtime.storage.cache import Cache, Entry
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.eviction import Budget, Room, removable, victims, with_space
from embedding_runtime.storage.inventory import reserve, space
from support.initializer import a_model

OLD, OLDER, NEW = Entry("old", 10, 2000), Entry("older", 10, 3000), Entry("new", 10, 100)
SLACK = 100_000
"""Bytes that locks and notes may take."""

LEFT = Entry("left", 10, 5, is_unfinished=True)


@pytest.mark.parametrize(
    ("entries", "lacking", "keep", "removed"),
    [
        ([OLD, OLDER], 0, (), []),
        ([OLD, OLDER], -5, (), []),
        ([OLD, OLDER], 1, (), ["older"]),
        ([OLD, OLDER], 11, (), ["older", "old"]),
        ([OLD, OLDER], 21, (), None),
        ([OLD, OLDER], 1, ("older",), ["old"]),
        ([OLD, OLDER], 11, ("older",), None),
        ([OLD, NEW], 11, (), None),
        ([NEW], 1, (), None),
        ([], 1, (), None),
        ([OLDER, LEFT], 1, (), ["left"]),
        ([OLDER, LEFT], 11, ("left",), ["left", "older"]),
    ],
)
def test_the_least_recently_used_go_if_that_is_enough(
    entries: list[Entry], lacking: int, keep: tuple[str, ...], removed: list[str] | None
) -> None:
    found = victims(removable(entries, keep, 600), lacking)
    assert (None if found is None else [each.path for each in found]) == removed


names = st.sampled_from("abcdefgh")
some_entries = st.lists(
    st.builds(Entry, names, st.integers(0, 100), st.floats(-10, 2000), st.booleans()), unique_by=lambda each: each.path
)


@given(some_entries, st.integers(-10, 500), st.frozensets(names), st.floats(0, 1000))
def test_nothing_that_is_kept_or_recent_goes_and_nothing_in_vain(
    entries: list[Entry], lacking: int, keep: frozenset[str], idle_seconds: float
) -> None:
    found = victims(removable(entries, keep, idle_seconds), lacking)
    may_go = [each for each in entries if each.is_unfinished or (each.path not in keep and each.idle > idle_seconds)]
    if found is None:
        assert sum(each.size for each in may_go) < lacking
        return
    assert set(found) <= set(may_go)
    assert sum(each.size for each in found) >= lacking
    assert not found or sum(each.size for each in found[:-1]) < lacking


class World:
    """A cache with models of 1 MB each, whose last use is so many seconds ago."""

    def __init__(self, root: Path, used: Mapping[str, float]) -> None:
        self.root, self.said = root, list[str]()
        self.cache = Cache(root, self.said.append)
        for name, ago in used.items():
            a_model(root / "models" / name, {"config.json": bytes(1 << 20), MODEL_NOTE: b"{}"})
            (root / ".used" / name).touch()
            os.utime(root / ".used" / name, (time.time() - ago, time.time() - ago))

    @property
    def models(self) -> set[str]:
        return {each.name for each in (self.root / "models").iterdir()}

    def room(self, capacity: int | None, *keep: str, listed_ago: float = 0, path: str = "wanted") -> Room:
        budget = Budget(capacity, frozenset(keep), time.time() - listed_ago)
        return Room(self.cache, budget, self.root / ".staging" / path, "hf://a/b: ")


def test_a_cache_that_is_full_loses_its_least_recently_used_model(tmp_path: Path) -> None:
    world = World(tmp_path, {"a": 3000, "b": 9000, "c": 5000})
    world.room(4 << 20).make(1 << 20)
    assert world.models == {"a", "c"}
    assert world.said == ["removed b to make room: 1.1 MB, last used 2.5 hours ago"]


def test_a_cache_with_space_loses_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, {"a": 9000})
    world.room(3 << 20).make(1 << 20)
    world.room(None).make(1 << 20)
    assert world.models == {"a"}


def test_a_model_in_use_stays_and_nothing_else_goes_if_that_is_not_enough(tmp_path: Path) -> None:
    world = World(tmp_path, {"a": 9000, "b": 8000})
    with pytest.raises(NoModel) as caught:
        world.room(2 << 20, "a").make(2 << 20)
    assert caught.value.failed.verdict is DownloadVerdict.INSUFFICIENT_STORAGE
    assert (
        "it needs 2.1 MB, and the cache of 2.1 MB would lack 1.1 MB of them even without" in caught.value.failed.message
    )
    assert world.models == {"a", "b"}


@pytest.mark.parametrize(("ago", "stays"), [(3600 + 500, True), (3600 + 700, False)])
def test_a_model_that_was_used_ten_minutes_before_the_list_stays(tmp_path: Path, ago: float, *, stays: bool) -> None:
    world = World(tmp_path, {"a": ago})
    room = world.room(1 << 20, listed_ago=3600)
    if stays:
        with pytest.raises(NoModel):
            room.make(1 << 20)
    else:
        room.make(1 << 20)
    assert ("a" in world.models) == stays


def test_nothing_is_evicted_by_a_list_of_1970_which_says_that_it_could_not_be_given(tmp_path: Path) -> None:
    world = World(tmp_path, {"a": 10 * 365 * 86400})
    with pytest.raises(NoModel):
        world.room(1 << 20, listed_ago=time.time()).make(1 << 20)
    assert world.models == {"a"}


def test_a_model_whose_path_is_locked_stays(tmp_path: Path) -> None:
    world = World(tmp_path, {"a": 9000, "b": 8000})
    with world.cache.lock("a"):
        world.room(3 << 20).make(1 << 20)
    assert world.models == {"a"}


def test_a_model_that_is_used_while_it_is_chosen_stays(tmp_path: Path) -> None:
    world = World(tmp_path, {"a": 9000})
    (tmp_path / ".used" / "a").touch()
    assert not world.cache.remove(Entry("a", 1, 9000))
    assert world.models == {"a"}


def test_what_cannot_be_removed_is_said_and_the_next_one_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, rename = World(tmp_path, {"a": 9000, "b": 8000}), Path.rename

    def refuse(source: Path, target: Path) -> Path:
        if source.name == "a":
            raise PermissionError(13, "Permission denied")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", refuse)
    world.room(3 << 20).make(1 << 20)
    assert world.models == {"a"}
    assert world.said[0] == f"{tmp_path / 'models' / 'a'} cannot be removed: [Errno 13] Permission denied"


def test_an_unfinished_download_goes_unless_a_process_writes_it(tmp_path: Path) -> None:
    world = World(tmp_path, {})
    for name in ("left", "written"):
        a_model(tmp_path / ".staging" / name / "model", {"config.json": bytes(1 << 20)})
    with world.cache.lock("written"):
        world.room((2 << 20) + SLACK).make(1 << 20)
    assert {each.name for each in (tmp_path / ".staging").iterdir()} == {"written"}


def test_what_other_processes_have_reserved_is_not_free(tmp_path: Path) -> None:
    world = World(tmp_path, {})
    other, own = tmp_path / ".staging" / "other", tmp_path / ".staging" / "own"
    a_model(other, {"model/config.json": bytes(1 << 20)})
    reserve(other, 5 << 20)
    before = space(world.cache, own).used
    with world.cache.lock("other"):
        assert abs(space(world.cache, own).used - before - (5 << 20)) < SLACK
        assert abs(space(world.cache, other).used - before) < SLACK


def test_a_quota_of_the_volume_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, {"a": 9000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1 << 20}))
    world.room(None).make(1 << 20)
    assert world.models == set()


FOUND = DownloadedModel(weights_bytes=9, path="a")


def test_the_report_names_what_was_evicted_the_latest_first(tmp_path: Path) -> None:
    world = World(tmp_path, {"a": 100, "b": 9000, "c": 5000})
    world.room(4 << 20).make(1 << 20)
    os.utime(tmp_path / ".used" / "b", (time.time() - 60, time.time() - 60))
    world.room((2 << 20) + SLACK).make(1 << 20)
    assert world.models == {"a"}
    assert with_space(FOUND, world.cache, Budget(), world.said.append).evicted == (short_path("c"), short_path("b"))


def test_what_is_downloaded_again_is_not_reported_as_evicted(tmp_path: Path) -> None:
    world = World(tmp_path, {"a": 100, "b": 9000})
    world.room((2 << 20) + SLACK).make(1 << 20)
    a_model(tmp_path / "models" / "b", {MODEL_NOTE: b"{}"})
    assert with_space(FOUND, world.cache, Budget(), world.said.append).evicted == ()


def test_an_unfinished_download_that_is_removed_was_no_model(tmp_path: Path) -> None:
    world = World(tmp_path, {})
    a_model(tmp_path / ".staging" / "left" / "model", {"config.json": bytes(1 << 20)})
    world.room(1 << 20).make(1 << 19)
    assert with_space(FOUND, world.cache, Budget(), world.said.append).evicted == ()


def test_the_report_has_what_is_taken_and_what_is_free_of_the_capacity(tmp_path: Path) -> None:
    world = World(tmp_path, {"a": 100, "b": 100})
    found = with_space(FOUND, world.cache, Budget(capacity=5 << 20), world.said.append)
    assert found.used_bytes is not None
    assert found.free_bytes is not None
    assert 2 << 20 <= found.used_bytes <= (2 << 20) + SLACK
    assert found.used_bytes + found.free_bytes == 5 << 20
    assert with_space(FOUND, world.cache, Budget(capacity=1), world.said.append).free_bytes == 0


def test_a_report_fits_into_a_termination_message_whatever_is_in_the_directory(tmp_path: Path) -> None:
    world = World(tmp_path, {})
    for number in range(2 * MOST_EVICTED):
        (tmp_path / ".used" / f"{'long' * 29}{number:03}").touch()
    (tmp_path / ".used" / "Not a path").touch()
    code = {f"owner/{'long' * 30}{number}": "c" * 40 for number in range(16)}
    for model in (FOUND, FOUND.model_copy(update={"code": code})):
        found = with_space(model, world.cache, Budget(), world.said.append)
        assert len(str(found).encode()) < 4096
        assert DownloadedModel.from_message(str(found)) == found
        assert found.evicted


def test_a_report_names_all_the_models_that_a_model_cache_can_have(tmp_path: Path) -> None:
    world = World(tmp_path, {})
    for number in range(64):
        (tmp_path / ".used" / f"{'long' * 29}{number:03}").touch()
    found = with_space(FOUND, world.cache, Budget(), world.said.append)
    assert {short_path(f"{'long' * 29}{number:03}") for number in range(64)} == set(found.evicted)


def test_without_the_space_the_model_is_reported_all_the_same(tmp_path: Path) -> None:
    world = World(tmp_path, {})
    (tmp_path / ".used").rmdir()
    assert with_space(FOUND, world.cache, Budget(), world.said.append) == FOUND
    assert "is not reported" in world.said[0]
