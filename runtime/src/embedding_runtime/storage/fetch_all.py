"""Downloads a model and what belongs beside it (adapters, a module), each from its own URI to its own directory."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from embedding_runtime.contract import DownloadVerdict
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.fetch import fetch, supported_uri
from embedding_runtime.storage.log import Log
from embedding_runtime.storage.note import read_note
from embedding_runtime.storage.resolve import resolve
from embedding_runtime.storage.retries import Retries

__all__ = ["fetch_all"]


def fetch_all(
    sources: Sequence[tuple[str, Path]], environ: Mapping[str, str], log: Log, retries: Retries | None = None
) -> None:
    """Download each URI to its directory, which may be in that of another one.

    All but the first may be less than a model. All are tried, so that one error has all that is wrong. Raises BadUri,
    NoModel.
    """
    for text, _ in sources:
        supported_uri(text)
    failed: dict[Path, NoModel] = {}
    absent: set[Path] = set()
    for text, directory in sorted(sources, key=lambda source: len(source[1].parts)):
        enclosing = [other for _, other in sources if other in directory.parents]
        try:
            if not absent.isdisjoint(enclosing):
                # A part of a model would be taken for the model. Only look whether it could be downloaded.
                absent.add(directory)
                resolve(text, environ, log, lambda _: None, retries, is_part=True)
                continue
            for other in enclosing:
                _check_free(text, directory.relative_to(other).as_posix(), other)
            is_part, volume = directory != sources[0][1], sources[0][1].parent
            fetch(text, directory, environ, log, retries, is_part=is_part, volume=volume)
        except NoModel as error:
            failed[directory] = error
            absent.add(directory)
    if failed:
        raise _together(list(failed.values()))


def _check_free(text: str, place: str, model: Path) -> None:
    """Raises NoModel if a model has files of its own in a place."""
    note = read_note(model)
    if any(path == place or path.startswith(f"{place}/") for path in note.get("files", ())):
        message = f"{text}: {note.get('uri')} has {place} itself: use another directory for one of them"
        raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, message)


def _together(errors: Sequence[NoModel]) -> NoModel:
    """One error for all. Its verdict is that of one which no retry can change, if there is any."""
    if len(errors) == 1:
        return errors[0]
    verdicts = [error.failed.verdict for error in errors]
    verdict = next((each for each in verdicts if each.retry_is_useless), verdicts[0])
    return NoModel(verdict, "; ".join(str(error) for error in errors))
