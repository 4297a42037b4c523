"""Whatever happens, no model is evicted that a service mounts, or has been planned to mount."""

from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from embedding_operator.core.model_cache.shared import held_by, shared_cache
from support.caches import CacheWorld, a_cluster_cache

SIZES = {"hf://org/a": 3, "hf://org/b": 5, "hf://org/c": 5}
ROOM = 8
"""`b` and `c` do not fit together."""
GRACE = timedelta(minutes=10)
"""What was used within that time before the Job was planned is not evicted (contract/initializer.py)."""


class World(CacheWorld):
    """With a volume, and services: planned ones, whose Deployments are created a little later, and those that mount."""

    def __init__(self, *uris: str) -> None:
        super().__init__(a_cluster_cache(*uris))
        self.volume: dict[str, datetime] = {}
        """When each path was last used."""
        self.planned: list[str] = []
        self.deployed: set[str] = set()
        self.settle()

    def end(self, uri: str) -> None:
        """Its Job ends as the volume has it: it evicts what was not used for longest."""
        args = self.job(uri)["spec"]["template"]["spec"]["containers"][0]["args"]
        given = {name: value for name, _, value in (each.partition("=") for each in args)}
        keep, listed_at = given.get("--keep", "").split(","), int(given["--listed-at"])
        free = [
            each
            for each in sorted(self.volume, key=lambda each: self.volume[each])
            if each not in (*keep, path(uri)) and self.volume[each].timestamp() < listed_at - GRACE.total_seconds()
        ]
        evicted = []
        while free and self.taken(uri) > ROOM:
            evicted.append(free.pop(0))
            del self.volume[evicted[-1]]
        if self.taken(uri) > ROOM:
            self.fail(uri, "InsufficientStorage: it does not fit")
            return
        self.volume[path(uri)] = self.now
        self.succeed(uri, path=path(uri), evicted=tuple(evicted))

    def taken(self, uri: str) -> int:
        return sum(SIZES[f"hf://org/{each}"] for each in {*self.volume, path(uri)})

    def plan_service(self, uri: str) -> None:
        """By the status as it is now."""
        cache = shared_cache(self.cache)
        if cache is not None and (found := held_by(uri, [cache])) is not None and found.model.path is not None:
            self.planned.append(found.model.path)

    def pass_time(self, **of: float) -> None:
        """Deployments are created within the two minutes that a reconcile may take."""
        if timedelta(**of) >= timedelta(minutes=2):
            self.deploy()
        super().pass_time(**of)

    def deploy(self) -> None:
        self.deployed.update(self.planned)
        self.planned.clear()
        self.known["mounted"] = frozenset(self.deployed)

    def undeploy(self) -> None:
        self.deployed.clear()
        self.known["mounted"] = frozenset()


def path(uri: str) -> str:
    return uri.rpartition("/")[2]


URI = st.sampled_from(sorted(SIZES))
ROUND = st.tuples(
    st.lists(URI, unique=True, min_size=1),
    URI,
    st.booleans(),
    st.sampled_from([0, 1, 3]),
    st.booleans(),
    st.sampled_from([0, 1, 3, 11]),
)


@settings(max_examples=60)
@given(st.lists(ROUND, min_size=2, max_size=6))
def test_what_services_mount_or_are_about_to_mount_is_on_the_volume(
    rounds: list[tuple[list[str], str, bool, float, bool, float]],
) -> None:
    world = World()
    for wanted, served, is_late, before, is_over, after in rounds:
        if not is_late:
            world.plan_service(served)
        world.edit(models=[{"storageUri": each} for each in wanted])
        world.settle()
        if is_late:
            world.plan_service(served)
        world.pass_time(minutes=before)
        for uri in world.active():
            world.end(uri)
            assert {*world.planned, *world.deployed} <= world.volume.keys()
        world.settle()
        world.pass_time(minutes=after)
        if is_over:
            world.undeploy()
