"""The chart, as a person installs and uninstalls it."""

from pathlib import Path

from kube import ROOT, sh

__all__ = ["NAMESPACE", "RELEASE", "install", "uninstall"]

RELEASE = "embedding-operator"
NAMESPACE = "embedding-operator"


def install(*values: str, source: Path = ROOT, release: str = RELEASE, namespace: str = NAMESPACE) -> None:
    """Install or upgrade, with these values (`replicas=2`) over those of e2e/values.yaml. Returns when it runs.

    `source` is the checkout whose chart and values these are.
    """
    flags = "".join(f" --set {value}" for value in values)
    sh(
        f"helm upgrade --install {release} {source}/charts/embedding-operator --namespace {namespace} "
        f"--values {source}/e2e/values.yaml --wait --timeout 300s{flags}"
    )


def uninstall(release: str = RELEASE, namespace: str = NAMESPACE) -> None:
    """Returns when nothing of it runs any more."""
    sh(f"helm uninstall {release} --namespace {namespace} --wait --timeout 180s --ignore-not-found")
    pods = f"pods -l app.kubernetes.io/instance={release} -n {namespace}"
    sh(f"kubectl wait --for=delete {pods} --timeout=180s")
