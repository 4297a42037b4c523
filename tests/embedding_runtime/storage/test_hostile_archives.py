"""Archives that want to write elsewhere, to write too much, or are not what they say: each is refused in words."""

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
from backports import zstd

from embedding_runtime.storage.archive import BadArchive, Limits, unpack

LIMITS = Limits(files=20, size=2_000_000, ratio=100)

Member = tuple[str, bytes]


def tar(*members: Member | tarfile.TarInfo, end: bool = True) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member, io.BytesIO(bytes(member.size)))
            else:
                archive.addfile(info(member[0], size=len(member[1])), io.BytesIO(member[1]))
        size = archive.offset
    return out.getvalue() if end else out.getvalue()[:size]


def info(name: str, *, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type, made.linkname = size, kind, link
    return made


def zipped(*members: Member | tuple[zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for member, content in members:
            made = member
            if isinstance(member, str):
                made = zipfile.ZipInfo("x")
                made.filename, made.compress_type = member, method  # ZipInfo(name) would clean it
            archive.writestr(made, content)
    return out.getvalue()


def of_kind(name: str, kind: int) -> tuple[zipfile.ZipInfo, bytes]:
    made = zipfile.ZipInfo(name)
    made.external_attr = (kind | 0o777) << 16
    return made, b"/etc/passwd"


def header_of(kind: bytes, size: int) -> bytes:
    """The header of something whose content tarfile reads at once."""
    return info("x", size=size, kind=kind).tobuf(tarfile.GNU_FORMAT)


def patched(archive: bytes, at: int, new: bytes) -> bytes:
    return archive[:at] + new + archive[at + len(new) :]


def with_sum(header: bytes) -> bytes:
    """A tar with this header, whose checksum is made right."""
    blank = patched(header, 148, b" " * 8)
    return patched(blank, 148, b"%06o\0 " % sum(blank)) + bytes(1024)


OK = ("config.json", b"{}")
ZEROS = bytes(1_900_000)
NOISE = zstd.compress(b"noise") * 40

NAMES = {
    "../x": "an empty part, '.' or '..'",
    "a/../../x": "an empty part, '.' or '..'",
    "a/..": "an empty part, '.' or '..'",
    "a/./b": "an empty part, '.' or '..'",
    "a//b": "an empty part, '.' or '..'",
    "/etc/x": "is absolute",
    "//host/x": "is absolute",
    "a\\..\\x": "a backslash or a drive",
    "C:/x": "a backslash or a drive",
    "a\nb": "a control character",
    "a\x7fb": "a control character",
    "x" * 256: "is too long",
    "a/" * 40 + "x": "is too long",
}

TARS: Mapping[str, tuple[bytes, str]] = {
    "a symbolic link": (tar(OK, info("x", kind=tarfile.SYMTYPE, link="/etc/passwd")), "is a symbolic link"),
    "a relative link": (tar(info("x", kind=tarfile.SYMTYPE, link="../..")), "is a symbolic link"),
    "a file through a link": (tar(info("x", kind=tarfile.SYMTYPE, link="/tmp"), ("x/y", b"")), "is a symbolic link"),
    "a hard link": (tar(info("x", kind=tarfile.LNKTYPE, link="/etc/passwd")), "is a hard link"),
    "a character device": (tar(info("x", kind=tarfile.CHRTYPE)), "is a device"),
    "a block device": (tar(info("x", kind=tarfile.BLKTYPE)), "is a device"),
    "a pipe": (tar(info("x", kind=tarfile.FIFOTYPE)), "is a pipe"),
    "an unknown type": (tar(info("x", kind=b"Z")), "is of an unknown type"),
    "a sparse file": (with_sum(patched(header_of(b"S", 0), 483, b"%011o\0" % 10**9)), "is a sparse file"),
    "a directory elsewhere": (tar(info("../x", kind=tarfile.DIRTYPE)), "an empty part"),
    "a name twice": (tar(OK, OK), "has 'config.json' twice"),
    "names that differ in case": (tar(OK, ("Config.JSON", b"")), "where case does not count"),
    "directories that differ in case": (tar(("A/x", b""), ("a/y", b"")), "where case does not count"),
    "names that differ in composition": (tar(("\u00e9", b""), ("e\u0301", b"")), "where case does not count"),
    "a file and a directory": (tar(("a", b""), ("a/b", b"")), "has 'a' as a file and as a directory"),
    "a directory and a file": (tar(("a/b", b""), ("a", b"")), "has 'a' as a file and as a directory"),
    "too many files": (tar(*((f"{number}", b"") for number in range(21))), "has more than 20 files"),
    "too many directories": (
        tar(*(info(f"{number}", kind=tarfile.DIRTYPE) for number in range(21))),
        "has more than 20 files",
    ),
    "too large a file": (tar(("x", bytes(2_000_001))), "unpacks to more than 2000000 bytes"),
    "too large files": (tar(("x", ZEROS), ("y", ZEROS)), "unpacks to more than 2000000 bytes"),
    "a long name of a gigabyte": (header_of(tarfile.GNUTYPE_LONGNAME, 1 << 30), "has a header of 1073741824 bytes"),
    "a pax header of a gigabyte": (header_of(tarfile.XHDTYPE, 1 << 30), "has a header of 1073741824 bytes"),
    "headers of headers": (
        b"".join(header_of(tarfile.XHDTYPE, 0) for _ in range(3000)) + tar(OK),
        "headers that are nested too deep",
    ),
    "a negative size": (
        with_sum(patched(header_of(tarfile.REGTYPE, 0), 124, b"\xff" * 12)),
        "leads back|damaged",
    ),
    "cut in a file": (tar(OK, ("x", ZEROS))[:5000], "is truncated"),
    "cut in a header": (tar(OK, OK)[:1200], "is truncated"),
    "without an end": (tar(OK, end=False), "is truncated"),
    "damaged in the middle": (patched(tar(OK, ("x", b"")), 1024, b"\xff" * 512), "is truncated"),
    "empty": (b"", "is damaged"),
    "not a tar": (b"<html>" * 1000, "is damaged"),
}

PACKED: Mapping[str, tuple[str, bytes, str]] = {
    "a bomb of gzip": ("x.tar.gz", gzip.compress(tar(("x", bytes(10_000_000)))), "unpacks to more than"),
    "a bomb of zstd": ("x.tar.zst", zstd.compress(tar(("x", bytes(10_000_000)))), "unpacks to more than"),
    "a bomb of nothing": ("x.tgz", gzip.compress(bytes(1024) + bytes(80_000_000)), "is damaged|unpacks to more than"),
    "a bomb after the end": ("x.tgz", gzip.compress(tar(OK) + bytes(80_000_000)), "unpacks to more than"),
    "gzip, cut": ("x.tar.gz", gzip.compress(tar(OK))[:-12], "is truncated"),
    "zstd, cut": ("x.tar.zst", zstd.compress(tar(OK))[:-12], "is truncated"),
    "gzip, wrong checksum": ("x.tgz", patched(gzip.compress(tar(OK)), -8, b"xxxx"), "is damaged"),
    "gzip of something": ("x.tgz", gzip.compress(b"something"), "is damaged"),
    "not gzip": ("x.tgz", tar(OK), "is damaged"),
    "not zstd": ("x.tar.zst", tar(OK), "is damaged"),
    "not a zip": ("x.zip", b"<html>" * 1000, "is damaged"),
    "an empty zip": ("x.zip", b"", "is damaged"),
    "a zip, cut": ("x.zip", zipped(OK)[:-30], "is damaged"),
    "a zip with a link": ("x.zip", zipped(of_kind("x", stat.S_IFLNK)), "is a symbolic link"),
    "a zip with a pipe": ("x.zip", zipped(of_kind("x", stat.S_IFIFO)), "is neither a file nor a directory"),
    "a zip with a name twice": ("x.zip", zipped(("a", b""), ("./a", b"")), "has 'a' twice"),
    "a zip with names that differ in case": ("x.zip", zipped(OK, ("CONFIG.json", b"")), "where case does not count"),
    "a zip with a file and a directory": ("x.zip", zipped(("a", b""), ("a/b", b"")), "as a file and as a directory"),
    "a zip with too many files": ("x.zip", zipped(*((f"{number}", b"") for number in range(21))), "more than 20 files"),
    "a bomb of zip": ("x.zip", zipped(("x", bytes(10_000_000))), "unpacks to more than 2000000 bytes"),
    "a zip of lzma": ("x.zip", zipped(OK, method=zipfile.ZIP_LZMA), "is not deflated"),
    "a zip with a wrong checksum": ("x.zip", zipped(("x", b"abcd"), method=0).replace(b"abcd", b"abcX"), "is damaged"),
    "an encrypted zip": ("x.zip", zipped(OK).replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1"), "encrypted"),
    "a zip with a huge directory": (
        "x.zip",
        patched(zipped(OK), -10, b"\xff\xff\xff\x7f"),
        "a directory of 2147483647",
    ),
    "a zip with a NUL in a name": ("x.zip", zipped(("a?b", b"")).replace(b"a?b", b"a\0b"), "a control character"),
}

HOSTILE: Mapping[str, tuple[str, bytes, str]] = {
    **{f"tar: {name[:20]!r}": ("x.tar", tar(OK, (name, b"")), words) for name, words in NAMES.items()},
    **{f"zip: {name[:20]!r}": ("x.zip", zipped(OK, (name, b"")), words) for name, words in NAMES.items()},
    **{f"tar: {what}": ("x.tar", content, words) for what, (content, words) in TARS.items()},
    **PACKED,
}


@pytest.mark.parametrize(("name", "content", "words"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused_in_words(
    name: str, content: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedding_runtime.storage.archive._UNLIMITED_RATIO", LIMITS.size)
    (tmp_path / name).write_bytes(content)
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(BadArchive, match=words):
        unpack(tmp_path / name, tmp_path / "a/b/into", LIMITS)
    assert {path.name for path in tmp_path.iterdir()} == {name, "a"}
    assert {path.name for path in (tmp_path / "a/b").iterdir()} <= {"into"}
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) >= 60


GOOD: Mapping[str, Callable[[Iterable[Member]], bytes]] = {
    "x.tar": lambda members: tar(*members),
    "x.tar.gz": lambda members: gzip.compress(tar(*members)),
    "x.TGZ": lambda members: gzip.compress(tar(*members)),
    "x.tar.zst": lambda members: zstd.compress(tar(*members)),
    "x.zip": lambda members: zipped(*members),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_archive_is_unpacked(name: str, tmp_path: Path) -> None:
    files = {
        "config.json": b"{}",
        "1_Pooling/config.json": b"{}",
        "model.safetensors": bytes(range(256)) * 9000,
        "é": b"",
    }
    (tmp_path / name).write_bytes(GOOD[name](files.items()))
    digests = unpack(tmp_path / name, tmp_path / "into", Limits())
    assert {path: (tmp_path / "into" / path).read_bytes() for path in digests} == files


def test_entries_for_directories_and_a_leading_dot_are_usual(tmp_path: Path) -> None:
    made = tar(info("./", kind=tarfile.DIRTYPE), info("./a/", kind=tarfile.DIRTYPE), ("./a/b", b""))
    (tmp_path / "x.tar").write_bytes(made)
    assert list(unpack(tmp_path / "x.tar", tmp_path / "into", LIMITS)) == ["a/b"]


def test_a_small_file_may_compress_well(tmp_path: Path) -> None:
    (tmp_path / "x.tgz").write_bytes(gzip.compress(tar(("x", bytes(50_000_000)))))
    assert list(unpack(tmp_path / "x.tgz", tmp_path / "into", Limits())) == ["x"]


@pytest.mark.parametrize("variable", ["ARCHIVE_MAX_FILES", "ARCHIVE_MAX_SIZE", "ARCHIVE_MAX_RATIO"])
def test_limits_are_settings(variable: str) -> None:
    assert getattr(Limits.from_environ({variable: "7"}), variable.removeprefix("ARCHIVE_MAX_").lower()) == 7
    for wrong in ("0", "-1", "many"):
        with pytest.raises(ValueError, match=f"{variable}={wrong} is not a positive whole number"):
            Limits.from_environ({variable: wrong})
