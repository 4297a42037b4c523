"""What keeps a node from mounting the model as an image."""

import re

from embedding_operator.core.diagnosis.expected import ExpectedPod
from embedding_operator.core.diagnosis.kubelet import NOT_PULLED, cannot_start, cause_of
from embedding_operator.core.pods import Pod
from embedding_operator.core.reasons import Reason
from embedding_operator.core.records import Finding

__all__ = ["image_missing", "server_cannot_start"]

_NOT_MOUNTED = re.compile(r'mkdir ""|path is empty|ImageVolumeMountFailed|image volume', re.IGNORECASE)
"""What is said of a container whose image volume cannot be mounted: by container runtimes that do not know image
volumes (`failed to mkdir ""`), by kubelets that do not (`Path is empty`), and by those that tried."""


def image_missing(pod: Pod, expected: ExpectedPod) -> Finding | None:
    """None: the model is mounted, since its server has been started; or it is no image."""
    if expected.model_image is None or pod.server.running or pod.server.terminated is not None:
        return None
    return server_cannot_start(pod, expected) or expected.progress


def server_cannot_start(pod: Pod, expected: ExpectedPod) -> Finding | None:
    """None: the kubelet reports no problem with the server's container, nor with the model's image that it mounts."""
    server, image = pod.server, expected.model_image
    words = server.waiting_message
    if image is not None and server.waiting in NOT_PULLED and image.rpartition("@")[2] in words:
        message = (
            f"The model's image {image} cannot be pulled: {cause_of(server)} Correct spec.model.storageUri. If the "
            "registry wants credentials, name their Secret in imagePullSecrets of the ServiceAccount default."
        )
        return Finding(Reason.IMAGE_PULL_FAILED, message)
    if image is not None and (server.waiting or "").startswith("CreateContainer") and _NOT_MOUNTED.search(words):
        message = (
            f"Node {pod.node} cannot mount the model's image: {cause_of(server)} Image volumes need a kubelet of "
            "Kubernetes 1.35, and containerd 2.1 or CRI-O 1.33. Remove spec.model.imageVolume, or upgrade the node."
        )
        return Finding(Reason.VOLUME_NOT_MOUNTED, message)
    return cannot_start(server, expected.server, "the server")
