"""The command line of `embedding-storage`: its commands, their options, and the help."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from embedding_runtime.contract import DownloadVerdict, FailedDownload

__all__ = ["parse"]

_COMMANDS = frozenset({"cache", "fetch", "resolve"})

_USAGE = """\
%(prog)s [fetch] [--verify] URI DIRECTORY [URI DIRECTORY]...
       %(prog)s resolve URI
       %(prog)s cache URI DIRECTORY [--capacity BYTES] [--keep PATH,...] [--listed-at SECONDS]
             [--source NAME]"""

_HELP = """\
commands:
  fetch URI DIRECTORY          download a model into a directory, which appears once the model is complete; an existing
                               one is kept as it is. It keeps what it has downloaded when it is interrupted: run it
                               again to continue. Without `fetch`, as in a pod, interrupted downloads are removed. More
                               URIs with directories are for parts of the model: adapters, modules
  resolve URI                  show the commit, the files and their size, and download nothing
  cache URI DIRECTORY          download a model into a directory of models, unless it is there, and print its path,
                               DIRECTORY/models/PATH. Several processes may share the directory: one downloads, and the
                               others wait. Where space is lacking, the least recently used models are removed, if that
                               is enough
    --capacity BYTES           what the directory may use (default: all of its volume)
    --keep PATH,...            models that are in use, and stay
    --listed-at SECONDS        when these were listed, in seconds since 1970 (default: now): models that were used
                               later, or in the 10 minutes before, stay, too
    --source NAME              do not use models that were downloaded under another name, or under none; those of
                               another endpoint are never used

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
  HF_TOKEN_PATH                a file with that token, which is used instead of HF_TOKEN
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

exit codes:
  0  done
  1  the download failed, and may succeed if it is tried again
  2  wrong arguments
  3  it fails again until something is changed: the URI, the credentials, the source, the space on the volume

examples:
  embedding-storage fetch hf://sentence-transformers/all-MiniLM-L6-v2 ./minilm
  HF_TOKEN=... embedding-storage fetch hf://owner/private-model:v1.2 ./model
  AWS_ENDPOINT_URL=http://minio:9000 embedding-storage fetch s3://models/minilm ./minilm
  embedding-storage fetch https://host/minilm.tar.gz#sha256=... ./minilm
  embedding-storage fetch --verify hf://sentence-transformers/all-MiniLM-L6-v2 ./minilm
  embedding-storage resolve hf://sentence-transformers/all-MiniLM-L6-v2
  embedding-storage cache --capacity=20000000000 hf://sentence-transformers/all-MiniLM-L6-v2 ~/models
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command in `command`, which is None for KServe's interface, and its arguments. Exits for wrong ones.

    `sources` has the URIs to fetch with their directories.
    """
    command = argv[0] if argv and argv[0] in _COMMANDS else None
    parser = _Parser(
        prog="embedding-storage",
        usage=_USAGE,
        description="Download models.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command)
    parser.add_argument("uri", metavar="URI", help="address of the model")
    if command != "resolve":
        parser.add_argument("directory", metavar="DIRECTORY", type=_absolute, help="target directory")
    if command == "cache":
        parser.add_argument("--capacity", metavar="BYTES", type=_size, help=argparse.SUPPRESS)
        parser.add_argument("--keep", metavar="PATH,...", type=_names, default=frozenset(), help=argparse.SUPPRESS)
        parser.add_argument("--listed-at", metavar="SECONDS", type=float, help=argparse.SUPPRESS)
        parser.add_argument("--source", metavar="NAME", help=argparse.SUPPRESS)
    elif command != "resolve":
        parser.add_argument(
            "--verify", action="store_true", help="read all files again, and compare them with their digests"
        )
        parser.add_argument("more", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv[1:] if command else argv)
    if "more" in arguments:
        given = [arguments.uri, str(arguments.directory), *arguments.more]
        if len(given) % 2:
            parser.error(f"{given[-1]} has no DIRECTORY")
        arguments.sources = [
            (uri, _absolute(directory)) for uri, directory in zip(given[::2], given[1::2], strict=True)
        ]
        if len({directory for _, directory in arguments.sources}) < len(arguments.sources):
            parser.error("a DIRECTORY is given twice")
    return arguments


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        failed = FailedDownload(DownloadVerdict.DOWNLOAD_FAILED, f"{message}; usage: URI DIRECTORY, see --help")
        self.exit(2, f"{failed}\n")


def _absolute(directory: str) -> Path:
    return Path(directory).absolute()


def _names(text: str) -> frozenset[str]:
    return frozenset(filter(None, text.split(",")))


def _size(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of bytes")
    return int(text)
