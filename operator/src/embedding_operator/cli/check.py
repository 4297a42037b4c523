"""`embedding-operator check`: whether the models of services can be served, and with how much memory; no cluster.

The initializer that a pod would have downloads the model, and the runtime's own `check` gets the flags of its server.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedding_operator.cli.manifests import Manifests, read, without_image_volume
from embedding_operator.cli.processes import ContainerProcess, directories_of
from embedding_operator.constants import INITIALIZER, SERVER
from embedding_operator.core.memory import limit_too_low, quantity, request_too_low
from embedding_operator.core.objects import Raw
from embedding_operator.core.resolve import ResolvedService, resolve_service
from embedding_operator.core.revision import revision_and_template
from embedding_operator.errors import BadManifests, CannotRunLocally, Refused
from embedding_operator.settings import CPU, Policy, Settings
from embedding_runtime.contract import MODEL_DIR, FailedDownload, FileUri, HuggingFaceUri, PvcUri, ServeArgs, report

__all__ = ["main"]


def main(files: Sequence[Path], model_dir: Path | None, output: str) -> int:
    """Print a table or JSON of all services. Returns 0 if all of them can be served."""
    try:
        manifests = read(files)
    except BadManifests as error:
        print(error, file=sys.stderr)
        return 1
    if model_dir is not None and len(manifests.services) > 1:
        print(f"--model-dir is for one service, and the files have {len(manifests.services)}", file=sys.stderr)
        return 1
    found = [_checked(raw, manifests, model_dir) for raw in manifests.services]
    print(json.dumps(found, indent=1) if output == "json" else "\n\n".join(map(report, found)))
    return 0 if all(each["served"] for each in found) else 1


def _checked(raw: Raw, manifests: Manifests, model_dir: Path | None) -> dict[str, Any]:
    """The answers of the runtime's check, and what is known of the service."""
    settings = Settings(hf_endpoint=os.environ.get("HF_ENDPOINT"), policy=Policy.unrestricted())
    name = {"service": raw["metadata"]["name"]}
    try:
        resolved = resolve_service(manifests.snapshot(without_image_volume(raw)), settings)
        _, template = revision_and_template(resolved, settings)
        with tempfile.TemporaryDirectory(prefix="embedding-operator-") as root:
            pod = _Pod(template["spec"], Path(root), manifests.secret_values(raw), with_model=model_dir is None)
            found = pod.check(model_dir or pod.download(resolved), resolved.serve)
    except Refused as refused:
        return {**name, "served": False, "why_not": "; ".join(each.message for each in refused.problems)}
    except CannotRunLocally as error:
        return {**name, "served": False, "why_not": str(error)}
    return {**name, **found, **_memory(resolved, found)}


class _Pod:
    """The processes of a planned pod, as far as a check needs them."""

    def __init__(self, spec: Raw, root: Path, secrets: Mapping[str, Mapping[str, str]], *, with_model: bool) -> None:
        """`with_model`: it downloads the model. Raises CannotRunLocally."""
        (initializer,) = (each for each in spec["initContainers"] if each["name"] == INITIALIZER)
        needed = {each["name"] for each in initializer["volumeMounts"]} if with_model else {"model", "tmp"}
        volumes = [each for each in spec["volumes"] if each["name"] in needed]
        try:
            directories = directories_of(volumes, root, secrets)
        except CannotRunLocally as error:
            raise CannotRunLocally(f"{error}, or give the model's directory with --model-dir") from error
        (server,) = (each for each in spec["containers"] if each["name"] == SERVER)
        self._initializer = ContainerProcess.of(initializer, "embedding_runtime.storage", directories, secrets)
        environ = ContainerProcess.of(server, "embedding_runtime", directories, secrets).env
        self._environ = {**environ, "TMPDIR": str(directories["tmp"])}  # libraries leave files there
        self._directory = directories["model"] / MODEL_DIR.name

    def download(self, resolved: ResolvedService) -> Path:
        """The directory of the model. Raises CannotRunLocally."""
        uri, fetcher = resolved.shown_uri, resolved.fetcher
        # The guide's storage container has KServe's image for hf://, which downloads what ours does.
        if not fetcher.is_ours and not isinstance(resolved.uri, HuggingFaceUri | FileUri | PvcUri):
            raise CannotRunLocally(
                f"{uri} is downloaded by the image of {fetcher}, which runs in a cluster only: download the model, and "
                "give its directory with --model-dir"
            )
        if self._initializer.run() != 0:
            log = self._initializer.status(ready=False)["state"]["terminated"]["message"]
            raise CannotRunLocally(str(FailedDownload.from_log(log)))
        return self._directory

    def check(self, directory: Path, serve: ServeArgs) -> dict[str, Any]:
        """What `python -m embedding_runtime check` finds, with the server's flags."""
        flags = [each for each in serve.to_argv() if not each.startswith(("--model_dir=", "--api_keys_file="))]
        done = subprocess.run(  # noqa: S603 our own interpreter and module
            [sys.executable, "-m", "embedding_runtime", "check", str(directory), "--output=json", *flags],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
        )
        if not done.stdout:
            raise CannotRunLocally(f"`python -m embedding_runtime check` ended with exit code {done.returncode}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def _memory(resolved: ResolvedService, found: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the limit and the request hold the estimate; nothing where there is none."""
    needed = found.get("memory_bytes")
    if needed is None:
        return {}
    if resolved.accelerator != CPU:
        return {
            "memory_advice": f"not compared: the estimate is for CPUs, and the service asks for {resolved.accelerator}"
        }
    resources = resolved.service.spec.resources
    given = resources.model_dump() if resources else {}
    takes = f"the server takes about {quantity(needed)} with a full batch"
    advice = [text for text in (limit_too_low(given, needed, takes), request_too_low(given, needed, takes)) if text]
    return {
        "memory_limit": given.get("limits", {}).get("memory"),
        "memory_request": given.get("requests", {}).get("memory"),
        "memory_fits": not advice,
        "memory_advice": " ".join(advice) or None,
    }
