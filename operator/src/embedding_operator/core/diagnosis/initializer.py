"""What keeps the initializer from downloading the model."""

from embedding_operator.core.diagnosis.expected import ExpectedPod
from embedding_operator.core.diagnosis.kubelet import cannot_start
from embedding_operator.core.downloads import Download
from embedding_operator.core.pods import Container
from embedding_operator.core.reasons import Reason
from embedding_operator.core.records import Finding
from embedding_operator.core.requirements import TOKEN_VARIABLE
from embedding_operator.core.resolve import ResolvedService
from embedding_operator.core.wording import capitalized, sentence
from embedding_runtime.contract import DownloadVerdict, FailedDownload, FileUri, HuggingFaceUri, PvcUri

__all__ = ["model_missing"]


def model_missing(
    container: Container, expected: ExpectedPod, download: Download | None = None, *, attempt: int | None = None
) -> Finding | None:
    """None: the model has been downloaded. An attempt that failed counts as failed until the next one succeeds.

    `attempt`: the number of the attempt that failed, if it is not the container's restarts that count them.
    """
    terminated = container.terminated
    stuck = cannot_start(container, expected.initializer, "the initializer")
    if stuck is not None:
        return stuck
    if terminated is not None and terminated.exit_code == 0 and not container.running:
        return None
    if terminated is not None and terminated.reason == "OOMKilled":
        return _out_of_memory(expected)
    if terminated is not None and terminated.exit_code != 0:
        failed = FailedDownload.from_log(terminated.message)
        number = attempt or (container.restarts if container.running else container.restarts + 1)
        return _download_failed(failed, number, expected.resolved)
    if container.running:
        return expected.progress_at(download)
    return Finding(Reason.PENDING, "The initializer is about to start.")


def _download_failed(failed: FailedDownload, attempt: int, resolved: ResolvedService) -> Finding:
    match failed.verdict:
        case DownloadVerdict.MODEL_NOT_FOUND:
            # A hub does not tell clients without access that a private model exists.
            remedy = "Correct spec.model.storageUri."
            if not isinstance(resolved.uri, FileUri | PvcUri):
                remedy += f" If the model is private: {_access_remedy(resolved)}."
        case DownloadVerdict.MODEL_UNAUTHORIZED:
            remedy = f"{capitalized(_access_remedy(resolved))}."
        case DownloadVerdict.CHECKSUM_MISMATCH:
            remedy = "Upload the model again, name another version of it in spec.model.storageUri, or bypass the proxy."
        case DownloadVerdict.INSUFFICIENT_STORAGE:
            remedy = "Enlarge the volume, or free space on it: without a cache, it is the disk of the pod's node."
            if "ephemeral-storage" in failed.message:
                remedy = "Set spec.resources.limits.ephemeral-storage; logs and temporary files count, too."
            if resolved.cache_claim is not None:
                remedy = f"Enlarge PersistentVolumeClaim {resolved.cache_claim}: what services use is not evicted."
        case DownloadVerdict.DOWNLOAD_FAILED:
            remedy = f"Attempt {attempt} failed; retrying."
    return Finding(Reason(failed.verdict), f"{sentence(failed.message)} {remedy}")


def _access_remedy(resolved: ResolvedService) -> str:
    if not isinstance(resolved.uri, HuggingFaceUri):
        fetcher = resolved.fetcher
        return (
            f"check the credentials in spec.container.env of {fetcher}"
            if fetcher.name
            else "create a StorageContainer for this URI with credentials in spec.container.env"
        )
    token = resolved.secret_keys.get(TOKEN_VARIABLE)
    if token is None:
        return "no token was used, name one in spec.model.tokenSecretRef"
    return f"the token of key {token.key} in Secret {token.name} was used, check that it may read the model"


def _out_of_memory(expected: ExpectedPod) -> Finding:
    limit, fetcher = expected.initializer_memory, expected.resolved.fetcher
    used = f"It used all of its memory limit, {limit}" if limit else "Its node ran out of memory"
    remedy = (
        f"Raise spec.container.resources.limits.memory of {fetcher}."
        if fetcher.name
        else "Create a StorageContainer for this URI with a higher spec.container.resources.limits.memory."
    )
    message = f"The initializer was killed while it downloaded the model. {used}. {remedy}"
    return Finding(Reason.OUT_OF_MEMORY, message)
