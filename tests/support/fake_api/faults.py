"""What a test does to requests: fail them, hold them, lose their answers, or act just before they are served."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from support.fake_api.errors import ApiError

__all__ = ["Faults", "Request"]


@dataclass(frozen=True)
class Request:
    """One request, in the words of RBAC; `resource` is the plural, with the subresource after a slash."""

    verb: str
    resource: str
    namespace: str | None = None
    name: str | None = None
    user_agent: str = field(default="", compare=False)
    group: str = field(default="", compare=False)

    @property
    def is_write(self) -> bool:
        return self.verb in {"create", "update", "patch", "delete"}


@dataclass
class _Fault:
    verb: str
    resource: str
    name: str | None
    left: int | None
    act: Callable[[Request], Awaitable[None]]
    after: bool

    def matches(self, request: Request) -> bool:
        return (
            self.verb in ("*", request.verb)
            and self.resource in ("*", request.resource)
            and self.name in (None, request.name)
        )


class ConnectionLost(Exception):
    """The connection is cut instead of an answer."""


@dataclass
class Faults:
    """Each applies to the next `times` requests (None: to all) of a verb and a resource; `*` is any."""

    _faults: list[_Fault] = field(default_factory=list)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def fail(
        self,
        verb: str,
        resource: str,
        status: int,
        *,
        name: str | None = None,
        times: int | None = 1,
        reason: str = "",
        message: str = "made to fail",
        retry_after: int | None = None,
    ) -> None:
        """Answer with this status."""

        async def act(_: Request) -> None:
            raise ApiError(status, reason, message, retry_after=retry_after)

        self._add(verb, resource, name, times, act)

    def deny(self, verb: str, resource: str, *, times: int | None = None) -> None:
        """Refuse for want of a right."""

        async def act(request: Request) -> None:
            scope = f'in the namespace "{request.namespace}"' if request.namespace else "at the cluster scope"
            what = f'resource "{request.resource}" in API group "{request.group}"'
            words = f'User "operator" cannot {request.verb} {what} {scope}'
            plural = request.resource.partition("/")[0] + (f".{request.group}" if request.group else "")
            named = f'{plural} "{request.name}"' if request.name else plural
            raise ApiError(403, "Forbidden", f"{named} is forbidden: {words}")

        self._add(verb, resource, None, times, act)

    def reset(self, verb: str, resource: str, *, times: int | None = 1, after: bool = False) -> None:
        """Cut the connection, before the request is served or after it.

        aiohttp itself sends GET, PUT and DELETE once more when a connection that it used before is cut: for a client to
        see it, let it happen twice.
        """

        async def act(_: Request) -> None:
            raise ConnectionLost

        self._add(verb, resource, None, times, act, after=after)

    def hang(self, verb: str, resource: str, *, times: int | None = 1, after: bool = False) -> None:
        """Give no answer until `release`, and cut the connection then."""

        async def act(_: Request) -> None:
            await self._released.wait()
            raise ConnectionLost

        self._add(verb, resource, None, times, act, after=after)

    def before(self, verb: str, resource: str, do: Callable[[], object], *, times: int | None = 1) -> None:
        """Let something happen just before the request is served."""

        async def act(_: Request) -> None:
            do()

        self._add(verb, resource, None, times, act)

    def clear(self) -> None:
        """No faults any more; what hangs is released."""
        self._faults.clear()
        self.release()

    def release(self) -> None:
        self._released.set()
        self._released = asyncio.Event()

    async def meet(self, request: Request, *, after: bool = False) -> None:
        """Raises ApiError or ConnectionLost."""
        for fault in list(self._faults):
            if fault.after == after and fault.matches(request):
                if fault.left is not None:
                    fault.left -= 1
                    if not fault.left:
                        self._faults.remove(fault)
                await fault.act(request)
                return

    def _add(
        self,
        verb: str,
        resource: str,
        name: str | None,
        times: int | None,
        act: Callable[[Request], Awaitable[None]],
        *,
        after: bool = False,
    ) -> None:
        self._faults.append(_Fault(verb, resource, name, times, act, after))
