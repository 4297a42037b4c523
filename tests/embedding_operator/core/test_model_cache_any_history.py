"""Whatever happens to a cache, its plans come to rest, and its status says what is on the volume."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from support.caches import CacheWorld, a_cache

SIZES = {f"hf://org/{name}": size for name, size in zip("abcdef", (1, 2, 3, 4, 5, 6), strict=True)}
ROOM = 8
"""Of all six models, which take 21, a few fit."""


@dataclass
class Volume:
    """What `cache` does on a volume: evict what was not used for longest, and say what was evicted."""

    used: list[str] = field(default_factory=list)
    """URIs, the least recently used first."""
    evicted: list[str] = field(default_factory=list)

    def download(self, uri: str, keep: set[str]) -> bool:
        if uri in self.used:
            self.used.remove(uri)
        for each in [each for each in self.used if path(each) not in keep]:
            if self.taken + SIZES[uri] > ROOM:
                self.used.remove(each)
                self.evicted.insert(0, each)
        if self.taken + SIZES[uri] > ROOM:
            return False
        self.used.append(uri)
        if uri in self.evicted:
            self.evicted.remove(uri)
        return True

    @property
    def taken(self) -> int:
        return sum(SIZES[each] for each in self.used)


class World(CacheWorld):
    """With a volume."""

    def __init__(self, *uris: str, parallelism: int) -> None:
        super().__init__(a_cache(*uris, parallelism=parallelism))
        self.volume = Volume()
        self.settle()

    def end(self, uri: str) -> None:
        """Its Job ends as the volume has it."""
        args = self.job(uri)["spec"]["template"]["spec"]["containers"][0]["args"]
        keep = next((each.partition("=")[2] for each in args if each.startswith("--keep=")), "").split(",")
        if self.volume.download(uri, set(keep)):
            self.succeed(uri, path=path(uri), evicted=tuple(map(path, self.volume.evicted)))
        else:
            self.fail(uri, "InsufficientStorage: it does not fit")
        self.settle()

    def rest(self) -> None:
        """All Jobs end, and are removed, and so are those that come after them. At most one for each model does."""
        for _ in range(len(SIZES) + 1):
            self.settle()
            for uri in self.active():
                if uri in self.active():
                    self.end(uri)
            self.pass_time(minutes=10)
        self.settle()
        assert self.active() == []


def path(uri: str) -> str:
    return f"{uri.rpartition('/')[2]}-1"


def some(uris: list[str]) -> list[dict[str, str]]:
    return [{"storageUri": each} for each in uris]


URIS = st.lists(st.sampled_from(sorted(SIZES)), unique=True, max_size=len(SIZES))


def first_active(world: World, act: Callable[[str], None]) -> None:
    for uri in world.active()[:1]:
        act(uri)


EVENTS: st.SearchStrategy[Callable[[World], None]] = st.one_of(
    st.just(lambda world: first_active(world, world.run)),
    st.just(lambda world: first_active(world, world.end)),
    st.just(lambda world: first_active(world, lambda uri: world.fail(uri, "DownloadFailed: cut", is_final=False))),
    st.just(lambda world: first_active(world, lambda uri: world.fail(uri, "ModelNotFound: 404"))),
    st.sampled_from([1, 10, 60, 25 * 60]).map(lambda minutes: lambda world: world.pass_time(minutes=minutes)),
    URIS.map(lambda uris: lambda world: world.edit(models=some(uris))),
    st.integers(1, 3).map(lambda number: lambda world: world.edit(parallelism=number)),
    URIS.map(
        lambda uris: (
            lambda world: world.known.update(
                mounted=frozenset(path(each) for each in uris if each in world.volume.used)
            )
        )
    ),
)


@settings(max_examples=50)
@given(URIS, st.integers(1, 3), st.lists(EVENTS, max_size=20))
def test_any_history_comes_to_rest_and_nothing_is_downloaded_again_and_again(
    uris: list[str], parallelism: int, events: list[Callable[[World], None]]
) -> None:
    world = World(*uris, parallelism=parallelism)
    for event in events:
        event(world)
        world.settle()
        assert len(set(world.active())) == len(world.active())
        assert len(world.active()) <= 3
    world.rest()
    ready = {each["storageUri"] for each in world.cache["status"]["models"] if each["state"] == "Ready"}
    started = len(world.started)
    world.pass_time(hours=20)  # what failed for good is tried again after a day
    world.rest()
    assert len(world.started) == started
    assert (world.condition()[0] == "True") == (len(ready) == len(world.states))
    assert world.kstatus in {"Current", "Failed"}


@settings(max_examples=50)
@given(URIS, st.integers(1, 3), st.lists(URIS, max_size=3))
def test_what_is_ready_is_on_the_volume(uris: list[str], parallelism: int, edits: list[list[str]]) -> None:
    world = World(*uris, parallelism=parallelism)
    for edit in edits:
        world.rest()
        world.edit(models=some(edit))
    world.rest()
    ready = {each["storageUri"] for each in world.cache["status"]["models"] if each["state"] == "Ready"}
    assert ready <= set(world.volume.used)


@given(URIS.filter(bool), st.integers(1, 3))
def test_what_fits_together_is_ready_in_the_end(uris: list[str], parallelism: int) -> None:
    world = World(*uris, parallelism=parallelism)
    world.rest()
    fits = sum(SIZES[each] for each in uris) <= ROOM
    assert (world.kstatus == "Current") == fits
    assert len(world.started) == len(uris)
