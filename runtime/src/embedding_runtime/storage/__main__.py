"""The initializer: `python -m embedding_runtime.storage URI DIRECTORY`; `embedding-storage fetch` is for use by hand.

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
from embedding_runtime.storage.note import verify
from embedding_runtime.storage.report import report
from embedding_runtime.storage.staging import leftovers

__all__ = ["main"]

_EXAMPLES = """\
addresses:
  hf://owner/name[:revision]   a repository of the hub at HF_ENDPOINT (default: huggingface.co), at a branch, tag or
                               commit; hf://owner/name@revision means the same
  ms://owner/name[:revision]   a repository of ModelScope, or of a mirror at MODELSCOPE_ENDPOINT
  s3://bucket/path             objects below a path, or an archive
  gs://bucket/path             the same in Google Cloud Storage
  az://container/path          the same in Azure; or https://ACCOUNT.blob.core.windows.net/container/path
  https://host/name.tar.gz     an archive (tar, tar.gz, tar.zst, zip), or a single file; #sha256=DIGEST verifies it
  oci://registry/repository[:tag|@sha256:DIGEST]
                               an OCI artifact (a layer is a file), or an image with the model in /models
  pvc://claim/path             a directory below /pvc/claim, where the claim is mounted
  file:///path                 a local directory

environment:
  HF_ENDPOINT, HF_TOKEN        URL of the hub, and the token for it
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, AWS_SKIP_SIGNATURE=true
  GOOGLE_SERVICE_ACCOUNT_KEY, GOOGLE_SKIP_SIGNATURE=true
  AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_KEY, AZURE_SKIP_SIGNATURE=true
  HTTP_AUTHORIZATION           the Authorization header for https://, such as Bearer TOKEN
  MODELSCOPE_ENDPOINT, MODELSCOPE_API_TOKEN
  OCI_USERNAME, OCI_PASSWORD   credentials for a registry; or OCI_AUTH_CONFIG, the text of a Docker config.json
  OCI_INSECURE=true            use http:// for a registry
  HTTPS_PROXY, NO_PROXY        as for other programs
  CA_CERTIFICATES              certificates that are trusted, besides the system's, as text (PEM)
  ARCHIVE_MAX_FILES, ARCHIVE_MAX_SIZE, ARCHIVE_MAX_RATIO
                               what an archive may unpack to: files (10000), bytes (200 GiB), times its size (100)
  TRUST_REMOTE_CODE=true       also download the Python code that the model's files name in other repositories of the
                               hub (auto_map), at the current commit, into remote_code/ of the directory

examples:
  embedding-storage fetch hf://sentence-transformers/all-MiniLM-L6-v2 ./minilm
  HF_TOKEN=... embedding-storage fetch hf://owner/private-model:v1.2 ./model
  AWS_ENDPOINT_URL=http://minio:9000 embedding-storage fetch s3://models/minilm ./minilm
  embedding-storage fetch https://host/minilm.tar.gz#sha256=... ./minilm
  embedding-storage fetch --verify hf://sentence-transformers/all-MiniLM-L6-v2 ./minilm

fetch keeps what it has downloaded when it is interrupted: run it again to continue. Without `fetch`, as in a pod,
interrupted downloads are removed.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    by_hand = given[:1] == ["fetch"]
    arguments = _Parser().parse_args(given[1:] if by_hand else given)
    log = Log(sys.stderr, secrets_in(os.environ, arguments.uri))
    directory: Path = arguments.directory.absolute()
    _stop_at_once_on_signals(directory, keep=by_hand)
    try:
        fetch(arguments.uri, directory, os.environ, log)
        report(directory, Path(TERMINATION_LOG), log.say)
        if arguments.verify:
            log.say(verify(directory))
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
            prog="embedding-storage",
            usage="%(prog)s [fetch] [--verify] URI DIRECTORY",
            description="Download a model into DIRECTORY. The directory appears once the model is complete.",
            epilog=_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_argument("uri", metavar="URI", help="address of the model")
        self.add_argument(
            "directory", metavar="DIRECTORY", type=Path, help="target directory; an existing one is kept as it is"
        )
        self.add_argument(
            "--verify", action="store_true", help="read all files again, and compare them with their digests"
        )

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"{_failed(f'{message}; usage: URI DIRECTORY, see --help')}\n")


def _failed(message: str) -> str:
    return str(FailedDownload(DownloadVerdict.DOWNLOAD_FAILED, message))


def _stop_at_once_on_signals(directory: Path, *, keep: bool) -> None:
    """An ordinary exit would wait for the threads that download, and a cleaning beside them would not end.

    `keep`: what was downloaded, for the next time.
    """

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        verdict = _failed(
            f"stopped by {signal.Signals(number).name} before the model was complete"
            f"{'; run it again to continue' if keep else ''}"
        )
        os.write(sys.stderr.fileno(), f"{verdict}\n".encode())  # a write to sys.stderr may be what was interrupted
        left = () if keep else map(str, leftovers(directory))
        clean = ["sh", "-c", 'rm -rf -- "$@"; exit "$0"', str(128 + number), *left]
        os.execv("/bin/sh", clean)  # noqa: S606 ends all threads at once; its arguments are not read as a script

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


if __name__ == "__main__":
    sys.exit(main())
