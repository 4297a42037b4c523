"""Certificates for servers of tests, made with openssl."""

import subprocess
from pathlib import Path

__all__ = ["a_certificate"]


def a_certificate(path: Path, *options: str, rsa: bool = False) -> Path:
    """Make a certificate `path`.pem, and its key beside it, `path`.key. Returns the former."""
    key = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    kind = ["-x509", "-newkey", *key, "-nodes", "-subj", f"/CN={path.name}"]
    made = path.with_suffix(".pem")
    files = ["-keyout", str(path.with_suffix(".key")), "-out", str(made)]
    subprocess.run(["openssl", "req", *kind, *options, *files], check=True, capture_output=True)
    return made
