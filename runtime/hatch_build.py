"""Compiles the attention kernel into the package. Without a compiler the package is complete, too: it uses torch's."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["CompileAttention"]

_BACKENDS = "src/embedding_runtime/worker/backends"


class CompileAttention(BuildHookInterface):
    """Called by hatchling before it builds a wheel, an editable one, too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 hatchling's signature
        """Add the compiled files to the wheel, which is then for one kind of machine."""
        root = Path(self.root)
        try:
            subprocess.run([root / "attention.sh", root / _BACKENDS], check=True)  # noqa: S603 our own script
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"the attention kernel is not compiled, and torch's is used: {error}", file=sys.stderr)  # noqa: T201
            return
        build_data["artifacts"].append(f"{_BACKENDS}/attention_*.so")
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
