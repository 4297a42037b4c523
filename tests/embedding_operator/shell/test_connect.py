"""Credentials, for the client that acts and for the one that watches."""

from pathlib import Path

import pytest
import yaml
from kubernetes.aio.config import kube_config

from embedding_operator.errors import NoCluster
from embedding_operator.shell import connect


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Neither in a cluster nor with a kubeconfig; returns where one would be."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    return tmp_path / "config"


async def test_no_credentials_are_one_fault_in_words() -> None:
    with pytest.raises(NoCluster, match="neither a pod's service account nor a usable kubeconfig"):
        await connect.load()


@pytest.fixture
def kubeconfig(nowhere: Path) -> None:
    nowhere.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"}}],
                "users": [{"name": "u", "user": {"token": "sesame"}}],
            }
        )
    )


@pytest.mark.usefixtures("kubeconfig")
async def test_a_kubeconfig_gives_both_clients_the_same_server_and_token() -> None:
    configuration = await connect.load()
    info = await connect.kopf_login(configuration)()
    assert configuration.host == info.server == "https://127.0.0.1:6443"
    assert info.as_http_headers() == {"Authorization": "Bearer sesame"}


@pytest.mark.usefixtures("kubeconfig")
async def test_a_token_that_was_rotated_is_read_anew() -> None:
    configuration = await connect.load()
    configuration.refresh_api_key_hook = lambda each: each.api_key.update(BearerToken="Bearer rotated")
    assert (await connect.kopf_login(configuration)()).as_http_headers() == {"Authorization": "Bearer rotated"}
