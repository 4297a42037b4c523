"""Names that several modules, other programs or users rely on."""

from pathlib import PurePosixPath

__all__ = [
    "ADOPT_ANNOTATION",
    "API_KEYS_FILE",
    "API_VERSION",
    "APPLIED_ANNOTATION",
    "CACHE_LABEL",
    "CLUSTER_CACHE_LABEL",
    "DRAIN_ANNOTATION",
    "FIELD_MANAGER",
    "GROUP",
    "INITIALIZER",
    "MANAGED_BY",
    "MANAGED_LABEL",
    "MODEL_ANNOTATION",
    "REVISION_LABEL",
    "SERVER",
    "SERVICE_LABEL",
    "STORAGE_GROUP",
    "TEMPLATE_ANNOTATION",
    "TOKEN_FILE",
    "USE_LABEL",
    "VERSION",
]

GROUP = "serving.embeddings.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

FIELD_MANAGER = "embedding-operator"
MANAGED_BY = "embedding-operator"
MANAGED_LABEL = "app.kubernetes.io/managed-by"
"""Label on all that the operator makes, pods included, with MANAGED_BY as its value."""

SERVICE_LABEL = f"{GROUP}/service"
"""Label with the name of the EmbeddingService, on all that is made for it, pods included."""

CACHE_LABEL = f"{GROUP}/model-cache"
"""Label with the name of the ModelCache, on its Jobs, their pods and its claim."""

CLUSTER_CACHE_LABEL = f"{GROUP}/cluster-model-cache"
"""Label with the name of the ClusterModelCache, on its Jobs and their pods."""

REVISION_LABEL = f"{GROUP}/revision"
"""Label with the revision, on a Deployment and its pods; the Service selects one revision by it."""

DRAIN_ANNOTATION = f"{GROUP}/draining"
"""On pods: since when their revision is about to lose its traffic. The runtime reads it from a volume."""

ADOPT_ANNOTATION = f"{GROUP}/adopt"
"""Set to "true" by a user on an object that an EmbeddingService may take over: after a restore from a backup, say."""

USE_LABEL = f"{GROUP}/use"
"""Set to "true" on a Secret that services may use, where the policy asks for it."""

APPLIED_ANNOTATION = f"{GROUP}/applied"
"""Digest of an object as it was last applied: shows that a field was removed from it since, which a comparison with the
live object cannot."""

TEMPLATE_ANNOTATION = f"{GROUP}/template"
"""Digest of the pod template, on each of its pods: distinguishes the pods of the present template from older ones."""

MODEL_ANNOTATION = f"{GROUP}/model"
"""On Deployments: the version of the model that its pods get, as JSON, with the URI that it is a version of."""

INITIALIZER = "storage-initializer"
SERVER = "server"
"""Names of the two containers of a pod."""

STORAGE_GROUP = 1000
"""Group of the storage image's user: a Job's volume belongs to it, so that the Job can write."""

API_KEYS_FILE = PurePosixPath("/etc/api-keys/keys")
"""Where a server finds its API keys. Its parent is the volume: of a single file that is mounted, a kubelet never brings
a new version."""

TOKEN_FILE = PurePosixPath("/etc/hub-token/token")
"""Where our initializer finds the token for a hub."""
