"""Precision at startup: the server refuses with a remedy, or reports the measured cosine similarity."""

import pytest

from support.runtime_server import RuntimeServer, until

pytestmark = pytest.mark.model

_PATIENCE = 240
"""Seconds: loading takes 6 to 17 of CPU time."""

torch = pytest.importorskip("torch")

needs_vnni = pytest.mark.skipif(
    not any(torch.cpu.get_capabilities().get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8")),
    reason="no VNNI on this CPU",
)


@needs_vnni
def test_int8_below_the_minimum_cosine_does_not_start() -> None:
    with RuntimeServer("huggingface", quantize="int8") as server:
        until(lambda: server.process.poll() is not None, "the end", seconds=_PATIENCE)
        assert server.process.returncode == 1
        assert "which is below --minimum_cosine=0.999: use float32, or lower the minimum" in server.log


@needs_vnni
@pytest.mark.parametrize("frontends", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_every_frontend_and_the_log_report_the_measured_cosine(frontends: int) -> None:
    with RuntimeServer("huggingface", quantize="int8", minimum_cosine=0.99, frontends=frontends) as server:
        server.ready()
        with server.http() as client:
            (model,) = client.get("/v1/models").json()["data"]
        assert {**model["precision"], "cosine": None} == {"dtype": "float32", "quantization": "int8", "cosine": None}
        assert 0.99 < model["precision"]["cosine"] < 1
        assert f"int8: the lowest cosine similarity to float32 is {model['precision']['cosine']:.5f}" in server.log
