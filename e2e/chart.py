"""The chart of this checkout, as a person installs and uninstalls it."""

from kube import sh

__all__ = ["install", "uninstall"]


def install() -> None:
    """Returns when the operator runs."""
    sh(
        "helm upgrade --install embedding-operator charts/embedding-operator --namespace embedding-operator "
        "--values e2e/values.yaml --wait --timeout 120s"
    )


def uninstall() -> None:
    """Returns when nothing of it runs any more."""
    sh("helm uninstall embedding-operator --namespace embedding-operator --wait --timeout 60s")
    sh("kubectl wait --for=delete pods --all -n embedding-operator --timeout=60s")
