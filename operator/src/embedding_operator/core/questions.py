"""What the operator asks pods: how far a download is, and which backend a server selected.

Only pods that the store proves to be the service's own are asked, at the address in their status.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from embedding_operator.core.pods import Pod
from embedding_operator.core.view import View
from embedding_runtime.contract import (
    BACKEND_PATH,
    PROGRESS_PATH,
    PROGRESS_PORT,
    BackendName,
    DownloadProgress,
    SelectedBackend,
)

__all__ = ["Answer", "Question", "of_downloads", "questions"]

Answer = DownloadProgress | SelectedBackend


@dataclass(frozen=True)
class Question:
    """A GET request to a pod, and the form of its response."""

    pod: str
    """UID."""
    run: int
    """How often the container was restarted before: another run may give another answer."""
    url: str
    expects: type[DownloadProgress] | type[SelectedBackend]

    @property
    def repeats(self) -> bool:
        """The answer changes while the container runs."""
        return self.expects is DownloadProgress


def questions(view: View) -> frozenset[Question]:
    """All questions about a service, for now."""
    return frozenset((*of_downloads(view.downloading), *_of_servers(view)))


def of_downloads(pods: Iterable[Pod]) -> Iterator[Question]:
    """How far the downloads of these pods are."""
    for pod in pods:
        if host := _host(pod):
            url = f"http://{host}:{PROGRESS_PORT}{PROGRESS_PATH}"
            yield Question(pod.uid, pod.initializer.restarts, url, DownloadProgress)


def _of_servers(view: View) -> Iterator[Question]:
    """Where the backend is auto, each ready server of the serving revision: once, as its answer does not change."""
    if view.resolved is None or view.resolved.serve.backend is not BackendName.AUTO:
        return
    for pod in view.answering:
        if host := _host(pod):
            url = f"http://{host}:{view.resolved.serve.http_port}{BACKEND_PATH}"
            yield Question(pod.uid, pod.server.restarts, url, SelectedBackend)


def _host(pod: Pod) -> str | None:
    """The pod's address as URLs have it; None: it has none yet, or one that no pod has."""
    try:
        address = ip_address(pod.ip or "")
    except ValueError:
        return None
    if not _is_of_a_pod(address):
        return None
    return f"[{address}]" if isinstance(address, IPv6Address) else str(address)


def _is_of_a_pod(address: IPv4Address | IPv6Address) -> bool:
    """Not the operator's own machine, nor a cloud's metadata service, in either notation."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return False
    return not (address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast)
