"""What keeps a server from answering requests: its container, and the Events about its probes."""

import re
from collections.abc import Sequence

from embedding_operator.core.diagnosis.events import STOPPED, failed_probe, node_lost
from embedding_operator.core.diagnosis.expected import ExpectedPod
from embedding_operator.core.diagnosis.image_volume import server_cannot_start
from embedding_operator.core.pods import Pod, PodEvent, Terminated
from embedding_operator.core.reasons import Reason
from embedding_operator.core.records import Finding
from embedding_operator.core.wording import last_lines, sentence
from embedding_runtime.contract import KILLED

__all__ = ["server_blocked"]

_WORKER_KILLED = re.compile(r"worker\b.*\bkilled", re.IGNORECASE)
"""The runtime's last log line when its worker was killed. The runtime itself lives on and ends with KILLED: the kubelet
does not report OOMKilled where the kernel kills one process of a container (cgroup v1)."""


def server_blocked(pod: Pod, expected: ExpectedPod, events: Sequence[PodEvent]) -> Finding:
    """Why the server of a pod that has its model is not ready.

    A server that failed and was restarted counts as failed until it is ready: so a crash loop
    gives its reason all the time, and not only between two attempts.
    """
    server = pod.server
    if (stuck := server_cannot_start(pod, expected)) is not None:
        return stuck
    if server.running and pod.was_ready:
        return _not_ready(pod, events)
    if server.terminated is not None:
        return _terminated(pod, server.terminated, expected, events)
    if server.running and server.started:
        return Finding(Reason.LOADING, "The server has loaded the model and is about to become ready.")
    if server.running:
        return Finding(Reason.LOADING, "The server is loading the model.")
    return Finding(Reason.PENDING, "The server is about to start.")


def _not_ready(pod: Pod, events: Sequence[PodEvent]) -> Finding:
    if pod.server.ready and (lost := node_lost(pod, events)) is not None:
        return lost
    if pod.server.ready:
        message = (
            f"The server of pod {pod.name} is ready, but the pod is not: its node has stopped reporting, another "
            "container is not ready, or a readiness gate is not met. Check `kubectl describe pod`."
        )
        return Finding(Reason.NOT_READY, message)
    words = failed_probe(events, "Readiness")
    why = f": {words}" if words else ". It may be overloaded or hang."
    message = f"The server stopped answering its readiness probe{why} Check `kubectl logs {pod.name}`."
    return Finding(Reason.NOT_READY, message)


def _terminated(pod: Pod, end: Terminated, expected: ExpectedPod, events: Sequence[PodEvent]) -> Finding:
    if end.reason == "OOMKilled" or (end.exit_code == KILLED and _WORKER_KILLED.search(end.message)):
        return _out_of_memory(expected.server_memory)
    if end.reason == "ContainerStatusUnknown":
        return Finding(Reason.NODE_LOST, "The node lost the server's container, as after a reboot; it is restarted.")
    words = last_lines(end.message)
    for probe in ("Liveness", "Startup") if end.exit_code in STOPPED else ():
        if failed := failed_probe(events, probe):
            how = "was killed (SIGKILL)" if end.exit_code == KILLED else f"was stopped (exit code {end.exit_code})"
            message = f"The server {how} by the kubelet because its {probe.lower()} probe failed: {failed}"
            return Finding(Reason.RUNTIME_FAILED, _with_log(message, words))
    if end.exit_code == KILLED:
        message = (
            "The server was killed (SIGKILL), most often by the kubelet after its liveness probe failed. Check "
            f"`kubectl describe pod {pod.name}`."
        )
        return Finding(Reason.RUNTIME_FAILED, _with_log(message, words))
    return Finding(
        Reason.RUNTIME_FAILED, f"The server exited with code {end.exit_code}: {words or 'it logged nothing.'}"
    )


def _with_log(message: str, words: str) -> str:
    return f"{message} Its last log lines: {words}" if words else sentence(message)


def _out_of_memory(limit: str | None) -> Finding:
    what = (
        f"It used all of its memory limit, {limit}. Raise spec.resources.limits.memory."
        if limit
        else "Its node ran out of memory. Set spec.resources.requests.memory to what the model needs."
    )
    return Finding(Reason.OUT_OF_MEMORY, f"The server was killed. {what}")
