"""The initializer: `python -m embedding_runtime.storage URI DIRECTORY`.

Exit codes: 0 for success, 1 if the model is not available, 2 for wrong arguments. Unless it is 0, the last line on
stderr is a verdict that the operator reads (`embedding_runtime.contract.initializer`); else it reads `storage.report`.
"""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from embedding_runtime.contract import TERMINATION_LOG, BadUri, DownloadVerdict, FailedDownload
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.fetch import fetch
from embedding_runtime.storage.log import Log, secrets_in
from embedding_runtime.storage.report import report
from embedding_runtime.storage.staging import leftovers

__all__ = ["main"]

_EXAMPLES = """\
addresses:
  hf://owner/name[:revision]   a repository of the hub at HF_ENDPOINT (default: huggingface.co), with the
                               token in HF_TOKEN if it is set
  pvc://claim/path             a directory below /pvc/claim, where the claim is mounted
  file:///path                 a local directory

environment:
  HF_ENDPOINT, HF_TOKEN        URL of the hub, and the token for it
  TRUST_REMOTE_CODE=true       also download the Python code that the model's files name in other repositories of the
                               hub (auto_map), at the current commit, into remote_code/ of the directory

examples:
  python -m embedding_runtime.storage hf://sentence-transformers/all-MiniLM-L6-v2 /mnt/models
  HF_TOKEN=... python -m embedding_runtime.storage hf://owner/private-model:v1.2 /mnt/models
  python -m embedding_runtime.storage pvc://models/minilm /mnt/models
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = _Parser().parse_args(argv)
    log = Log(sys.stderr, secrets_in(os.environ, arguments.uri))
    directory: Path = arguments.directory.absolute()
    _stop_at_once_on_signals(directory)
    try:
        fetch(arguments.uri, directory, os.environ, log)
        report(directory, Path(TERMINATION_LOG), log.say)
    except BadUri as error:
        log.say(_failed(str(error)))
        return 2
    except NoModel as error:
        log.say(str(error.failed))
        return 1
    except Exception as error:  # noqa: BLE001 the operator needs a verdict on our own faults, too
        log.say(traceback.format_exc())
        log.say(_failed(f"{arguments.uri}: {type(error).__name__}: {error}"))
        return 1
    return 0


class _Parser(argparse.ArgumentParser):
    def __init__(self) -> None:
        super().__init__(
            prog="python -m embedding_runtime.storage",
            description="Download a model into DIRECTORY. The directory appears once the model is complete.",
            epilog=_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_argument("uri", metavar="URI", help="address of the model")
        self.add_argument(
            "directory", metavar="DIRECTORY", type=Path, help="target directory; an existing one is kept as it is"
        )

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"{_failed(f'{message}; usage: URI DIRECTORY, see --help')}\n")


def _failed(message: str) -> str:
    return str(FailedDownload(DownloadVerdict.DOWNLOAD_FAILED, message))


def _stop_at_once_on_signals(directory: Path) -> None:
    """An ordinary exit would wait for the threads that download, and a cleaning beside them would not end."""

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        verdict = _failed(f"stopped by {signal.Signals(number).name} before the model was complete")
        os.write(sys.stderr.fileno(), f"{verdict}\n".encode())  # a write to sys.stderr may be what was interrupted
        clean = ["sh", "-c", 'rm -rf -- "$@"; exit "$0"', str(128 + number), *map(str, leftovers(directory))]
        os.execv("/bin/sh", clean)  # noqa: S606 ends all threads at once; its arguments are not read as a script

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


if __name__ == "__main__":
    sys.exit(main())
