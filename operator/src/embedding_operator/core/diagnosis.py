"""What the pods of a service are doing, or what is wrong with them, in words that say what to change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from embedding_operator.constants import TEMPLATE_ANNOTATION
from embedding_operator.core.reasons import PROGRESS, Reason
from embedding_operator.core.resolve import TOKEN_VARIABLE, Settled
from embedding_operator.core.snapshot import Container, Pod
from embedding_runtime.contract import KILLED, DownloadVerdict, FailedDownload

__all__ = ["Finding", "Look", "Wanted", "look", "worst"]

_NOT_PULLED = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_ON_ITS_WAY = {None, "PodInitializing", "ContainerCreating", "CrashLoopBackOff"}
_TAIL_LINES, _TAIL_CHARACTERS = 5, 1000


@dataclass(frozen=True)
class Finding:
    """One thing to say about a pod."""

    reason: str
    message: str

    @property
    def is_trouble(self) -> bool:
        """It does not go away by waiting."""
        return self.reason not in PROGRESS


@dataclass(frozen=True)
class Wanted:
    """What the pods are meant to be: the service, and the containers and template that were rendered for it."""

    settled: Settled
    initializer: Mapping[str, Any]
    server: Mapping[str, Any]
    template: str

    @classmethod
    def of(cls, settled: Settled, deployment: Mapping[str, Any]) -> Self:
        """From the Deployment that is desired."""
        template = deployment["spec"]["template"]
        (initializer,), (server,) = template["spec"]["initContainers"], template["spec"]["containers"]
        return cls(settled, initializer, server, template["metadata"]["annotations"][TEMPLATE_ANNOTATION])


@dataclass(frozen=True)
class Look:
    """One pod: what keeps its model away, and what keeps it from answering requests; None: nothing does."""

    model: Finding | None
    blocked: Finding | None


def look(pod: Pod, wanted: Wanted) -> Look:
    """A container that failed and was started again counts as failed until it has done its work: so a crash loop says
    why all the time, and not only between two attempts.
    """
    if pod.unschedulable is not None:
        return Look(Finding(Reason.PENDING, "No node has taken the pod yet."), _unschedulable(pod, wanted))
    model = None if _has_started(pod.server) else _model(pod.initializer, wanted)
    if model is not None:
        return Look(model, model)
    return Look(None, None if pod.ready else _server(pod.server, wanted))


def worst(findings: Sequence[Finding | None]) -> Finding | None:
    """Trouble before progress, and what is earliest in a pod's life first; None: nothing to say."""
    order: dict[str, int] = {reason: index for index, reason in enumerate(Reason)}
    found = [each for each in findings if each is not None]
    return min(found, key=lambda each: (not each.is_trouble, order.get(each.reason, 0)), default=None)


def _has_started(container: Container) -> bool:
    return container.running or container.ended is not None


def _model(container: Container, wanted: Wanted) -> Finding | None:
    settled, ended = wanted.settled, container.ended
    stuck = _stuck(container, wanted.initializer["image"], "the initializer")
    if stuck is not None:
        return stuck
    if ended is not None and ended.exit_code == 0 and not container.running:
        return None
    if ended is not None and ended.reason == "OOMKilled":
        return _initializer_out_of_memory(wanted)
    if ended is not None and ended.exit_code != 0:
        return _download_failed(FailedDownload.from_log(ended.message), container, settled)
    if container.running:
        uri = settled.service.spec.model.storage_uri
        return Finding(Reason.DOWNLOADING, f"{_capital(str(settled.fetcher))} fetches {uri}.")
    return Finding(Reason.PENDING, "The initializer is about to start.")


def _download_failed(failed: FailedDownload, container: Container, settled: Settled) -> Finding:
    words = failed.message.rstrip(".")
    match failed.verdict:
        case DownloadVerdict.MODEL_NOT_FOUND:
            # A hub does not tell whoever may not see a private model that there is one.
            remedy = f"Correct spec.model.storageUri; or, if the model is private: {_token_remedy(settled)}"
        case DownloadVerdict.MODEL_UNAUTHORIZED:
            remedy = _capital(_token_remedy(settled))
        case DownloadVerdict.DOWNLOAD_FAILED:
            attempt = container.restarts if container.running else container.restarts + 1
            remedy = f"That was start {attempt} of the initializer; it is started again"
    return Finding(Reason(failed.verdict), f"{words}. {remedy}.")


def _token_remedy(settled: Settled) -> str:
    token = settled.secret_keys.get(TOKEN_VARIABLE)
    if token is None:
        return "no token was used, name one in spec.model.tokenSecretRef"
    return f"the token of key {token.key} in Secret {token.name} was used, check that it may read the model"


def _initializer_out_of_memory(wanted: Wanted) -> Finding:
    limit, fetcher = _memory_limit(wanted.initializer), wanted.settled.fetcher
    where = (
        f"raise spec.container.resources.limits.memory of {fetcher}"
        if fetcher.name
        else "make a StorageContainer for this URI with a higher spec.container.resources.limits.memory"
    )
    used = f"It used all of its memory limit, {limit}" if limit else "Its node ran out of memory"
    return Finding(Reason.OUT_OF_MEMORY, f"The initializer was killed while it fetched the model. {used}: {where}.")


def _server(container: Container, wanted: Wanted) -> Finding:
    stuck = _stuck(container, wanted.server["image"], "the server")
    if stuck is not None:
        return stuck
    if container.ended is not None and (container.ended.reason == "OOMKilled" or container.ended.exit_code == KILLED):
        return _server_out_of_memory(_memory_limit(wanted.server))
    if container.ended is not None:
        last_words = _tail(container.ended.message) or "it wrote nothing"
        return Finding(
            Reason.RUNTIME_FAILED, f"The server ended with exit code {container.ended.exit_code}: {last_words}"
        )
    if container.running:
        return Finding(Reason.LOADING, "The server loads the model.")
    return Finding(Reason.PENDING, "The server is about to start.")


def _server_out_of_memory(limit: str | None) -> Finding:
    what = (
        f"It used all of its memory limit, {limit}: raise spec.resources.limits.memory."
        if limit
        else "Its node ran out of memory: set spec.resources.requests.memory to what the model needs."
    )
    return Finding(Reason.OUT_OF_MEMORY, f"The server was killed. {what}")


def _unschedulable(pod: Pod, wanted: Wanted) -> Finding:
    resources = wanted.server.get("resources", {})
    asked = resources.get("limits", {}) | resources.get("requests", {})
    words = ", ".join(f"{name} {value}" for name, value in sorted(asked.items()))
    who = f"the pod, which asks for {words}" if asked else "the pod"
    remedy = "Add or free what is missing" + (", or ask for less in spec.resources" if asked else "")
    return Finding(Reason.UNSCHEDULABLE, f"No node takes {who}: {(pod.unschedulable or '').rstrip('.')}. {remedy}.")


def _stuck(container: Container, image: str, who: str) -> Finding | None:
    """What the kubelet cannot do for a container, in its words."""
    if container.waiting in _ON_ITS_WAY:
        return None
    # Between two attempts the kubelet wraps the cause in its own words; the cause alone stays the same.
    cause = container.waiting_message.rpartition("ErrImagePull: ")[2]
    if container.waiting in _NOT_PULLED:
        return Finding(Reason.IMAGE_PULL_FAILED, f"{_capital(who)}'s image {image} cannot be pulled: {cause}")
    return Finding(container.waiting or "", f"The kubelet cannot start {who}: {cause}")


def _memory_limit(container: Mapping[str, Any]) -> str | None:
    limit: str | None = container.get("resources", {}).get("limits", {}).get("memory")
    return limit


def _tail(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return "\n".join(lines[-_TAIL_LINES:])[-_TAIL_CHARACTERS:]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
