"""The initializer: `python -m embedding_runtime.storage URI DIRECTORY...`; `embedding-storage` is for use by hand.

Exit codes: 0 for success, 1 if the model is not available, 2 for wrong arguments, RETRY_IS_USELESS. Unless it is 0, the
last line on stderr is a verdict that the operator reads (`embedding_runtime.contract.initializer`); else it reads
`storage.report`.
"""

import os
import signal
import sys
import traceback
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from embedding_runtime.contract import (
    RETRY_IS_USELESS,
    TERMINATION_LOG,
    BadUri,
    DownloadVerdict,
    FailedDownload,
    without_secrets,
)
from embedding_runtime.storage.cache import Cache
from embedding_runtime.storage.command_line import parse
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.eviction import Budget, with_space
from embedding_runtime.storage.fetch_all import fetch_all
from embedding_runtime.storage.into_cache import fetch_into_cache
from embedding_runtime.storage.log import Log, secrets_in
from embedding_runtime.storage.note import verify
from embedding_runtime.storage.report import report, report_directory
from embedding_runtime.storage.resolve import resolve
from embedding_runtime.storage.staging import leftovers

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = parse(sys.argv[1:] if argv is None else argv)
    uris = [uri for uri, _ in arguments.sources] if "sources" in arguments else [arguments.uri]
    log = Log(sys.stderr, {secret for uri in uris for secret in secrets_in(os.environ, uri)})
    try:
        _run(arguments, log)
    except BadUri as error:
        log.say(_failed(str(error)))
        return 2
    except NoModel as error:
        log.say(str(error.failed))
        return RETRY_IS_USELESS if error.failed.verdict.retry_is_useless else 1
    except Exception as error:  # noqa: BLE001 the operator needs a verdict on our own faults, too
        log.say(traceback.format_exc())
        log.say(_failed(f"{without_secrets(arguments.uri)}: {type(error).__name__}: {error}"))
        return 1
    return 0


def _run(arguments: Namespace, log: Log) -> None:
    """Raises BadUri, NoModel."""
    termination_log = Path(TERMINATION_LOG)
    match arguments.command:
        case "resolve":
            _stop_at_once_on_signals("before it had resolved the URI")
            report(resolve(arguments.uri, os.environ, log, print), termination_log, log.say)
            return
        case "cache":
            _stop_at_once_on_signals("before the model was complete; run it again to continue")
            os.umask(0o022)  # pods with other users read the models
            given = {"capacity": arguments.capacity, "keep": arguments.keep, "listed_at": arguments.listed_at}
            budget = Budget(**{name: value for name, value in given.items() if value is not None})
            found = fetch_into_cache(
                arguments.uri, arguments.directory, os.environ, log, budget, source_name=arguments.source
            )
            report(with_space(found, Cache(arguments.directory, log.say), budget, log.say), termination_log, log.say)
            sys.stdout.write(f"{arguments.directory / 'models' / str(found.path)}\n")
            return
        case "fetch":
            _stop_at_once_on_signals("before the model was complete; run it again to continue")
        case _:
            _stop_at_once_on_signals(
                "before the model was complete", unfinished=[directory for _, directory in arguments.sources]
            )
    fetch_all(arguments.sources, os.environ, log)
    report_directory(arguments.directory, termination_log, log.say)
    if arguments.verify:
        for _, directory in arguments.sources:
            log.say(verify(directory))


def _failed(message: str) -> str:
    return str(FailedDownload(DownloadVerdict.DOWNLOAD_FAILED, message))


def _stop_at_once_on_signals(words: str, *, unfinished: Sequence[Path] = ()) -> None:
    """An ordinary exit would wait for the threads that download, and a cleaning beside them would not end.

    `words`: what is not done. `unfinished`: what was downloaded to these directories is removed.
    """

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        verdict = _failed(f"stopped by {signal.Signals(number).name} {words}")
        os.write(sys.stderr.fileno(), f"{verdict}\n".encode())  # a write to sys.stderr may be what was interrupted
        left = [str(path) for directory in unfinished for path in leftovers(directory)]
        clean = ["sh", "-c", 'rm -rf -- "$@"; exit "$0"', str(128 + number), *left]
        os.execv("/bin/sh", clean)  # noqa: S606 ends all threads at once; its arguments are not read as a script

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


if __name__ == "__main__":
    sys.exit(main())
