"""From the name of an asset to its verified files in the cache.

An archive is looked for in the folder that ``FTKIT_MIRROR`` names, then at the asset's own sources (pip, a web
address). Whatever the source, every hash is checked, only the files that the catalog names are unpacked, and
nothing from an archive is imported or run. A folder appears in the cache complete or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import hashlib
import http.client
import importlib.util
import json
import os
import re
import shutil
import ssl
import stat
import subprocess
import sys
import urllib.request
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NoReturn

import certifi
from filelock import FileLock, Timeout
from tqdm import tqdm

from ftkit import catalog
from ftkit.catalog import Asset, InstalledSource, Kind, Member, MemberSet, PipSource, Source, WebSource
from ftkit.errors import AssetError
from ftkit.paths import cache_folder, in_shell

__all__ = [
    "AssetState",
    "asset_folder",
    "asset_states",
    "fetch",
    "is_cached",
    "pip_install",
    "save_archives",
    "verify",
]

State = Literal["cached", "missing", "installed", "not installed"]

_MANIFEST = ".complete.json"
_BLOCK_BYTES = 1 << 20
_SPARE_BYTES = 16 << 20
_WEB_TIMEOUT_SECONDS = 30.0
_POLL_SECONDS = 0.2
_FULL_DISK = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass(frozen=True)
class AssetState:
    """One line of ``ftkit fetch --list``.

    Attributes
    ----------
    name, kind, title, licence
        As in the catalog.
    archive_bytes
        What a download costs, in bytes; 0 when nothing is downloaded.
    member_bytes
        What the files take in the cache, in bytes.
    state
        ``"cached"`` or ``"missing"``; ``"installed"`` or ``"not installed"`` when a Python package provides it.
    """

    name: str
    kind: Kind
    title: str
    licence: str
    archive_bytes: int
    member_bytes: int
    state: State


class _UnreachableError(AssetError):
    """A source did not give the archive; another one may."""


@dataclass(frozen=True)
class _Archive:
    path: Path
    origin: str
    remedy: str = "Try again later."
    """What to do where it is not what was expected."""


def fetch(name: str | Asset, *, progress: bool = True) -> Path:
    """Return the folder that holds an asset's verified files, downloading them when the cache has not got them.

    Parameters
    ----------
    name
        An asset's name, such as ``"minilm"``, or an `Asset`.
    progress
        Show a bar with bytes, on standard error, while downloading.

    Returns
    -------
    Path
        The folder in the cache; each file lies at its `Member.path`. For an asset that an installed package
        provides, that package's folder.

    Raises
    ------
    UnknownNameError
        When the catalog has no such name.
    AssetError
        When the asset cannot be had, the disk is too small, or a hash is wrong. Nothing is left behind.

    Notes
    -----
    Two processes may fetch at once: the second waits for the first.
    """
    asset = _resolve(name)
    if asset.installed is not None:
        return _installed_folder(asset, asset.installed)
    folder = asset_folder(asset)
    if _is_complete(asset, folder):
        return folder
    with _explained(asset, folder.parent), _locked(asset, folder.parent, progress):
        # Another process may have fetched it while this one waited for the lock.
        if not _is_complete(asset, folder):
            _fetch_into(asset, folder, progress)
    return folder


def is_cached(name: str | Asset) -> bool:
    """Tell whether `fetch` would return at once: all files are in the cache with the right sizes.

    Parameters
    ----------
    name
        An asset's name, or an `Asset`.
    """
    asset = _resolve(name)
    if asset.installed is not None:
        return _module_folder(asset.installed.module) is not None
    return _is_complete(asset, asset_folder(asset))


def verify(name: str | Asset) -> Path:
    """Hash an asset's files in the cache again and compare them with the catalog.

    Parameters
    ----------
    name
        An asset's name, or an `Asset`.

    Returns
    -------
    Path
        The folder, as from `fetch`.

    Raises
    ------
    AssetError
        When the asset is not in the cache, or a file is not what the catalog says.
    """
    asset = _resolve(name)
    if asset.installed is not None:
        return _installed_folder(asset, asset.installed)
    folder = asset_folder(asset)
    if not _is_complete(asset, folder):
        raise AssetError(f"{asset.name} is not in the cache {folder.parent}: run `ftkit fetch {asset.name}`.")
    remedy = f"Delete the folder {folder} and run `ftkit fetch {asset.name}`."
    for member in asset.members:
        found = _file_digest(folder / member.path).hex()
        if found != member.sha256:
            raise AssetError(f"{_wrong_hash(folder / member.path, member.sha256, found)} {remedy}")
    paths = [path for path in _read_manifest(folder) if path not in {member.path for member in asset.members}]
    for member_set in asset.member_sets:
        inside = [path for path in paths if path.rpartition("/")[0] == member_set.folder]
        found = _digest_of_digests({path: _file_digest(folder / path) for path in inside})
        if found != member_set.digest:
            place = folder / member_set.folder
            raise AssetError(f"{_wrong_hash(f'The files in {place}', member_set.digest, found)} {remedy}")
    return folder


def asset_folder(name: str | Asset) -> Path:
    """Return where an asset's files lie in the cache, whether or not they are there.

    Parameters
    ----------
    name
        An asset's name, or an `Asset`.
    """
    asset = _resolve(name)
    # The fingerprint lets two versions of ftkit, with other files under one name, share a cache.
    return cache_folder() / "assets" / f"{asset.name}-{asset.fingerprint[:12]}"


def asset_states(names: Iterable[str] | None = None) -> list[AssetState]:
    """Return one row for each asset: what it is, how large, under which licence, and whether it is here.

    Parameters
    ----------
    names
        Which assets; all of the catalog by default.
    """
    return [
        AssetState(
            name=asset.name,
            kind=asset.kind,
            title=asset.title,
            licence=asset.licence,
            archive_bytes=asset.archive_bytes,
            member_bytes=asset.member_bytes,
            state=_state(asset),
        )
        for asset in _resolve_all(names)
    ]


def save_archives(
    names: Iterable[str | Asset] | None, folder: str | os.PathLike[str], *, progress: bool = True
) -> list[Path]:
    """Fill a folder that others can name in ``FTKIT_MIRROR``: a memory stick, a network share.

    Parameters
    ----------
    names
        Which assets; None for all of the catalog.
    folder
        The folder to fill; it is created when missing. An archive that is already there and right is kept.
    progress
        Show a bar with bytes for each download.

    Returns
    -------
    list of Path
        The archives, each once: two assets may share one. Assets that come with an installed package have none.

    Raises
    ------
    UnknownNameError
        When the catalog lacks one of the names; nothing is fetched then.
    AssetError
        When an archive cannot be had or is not what the catalog says; those before it are kept.
    """
    target_folder = Path(folder).expanduser().absolute()
    archives: dict[Path, None] = {}
    for asset in _resolve_all(names):
        if asset.installed is not None:
            continue
        target = target_folder / asset.archive
        with _explained(asset, target_folder):
            target_folder.mkdir(parents=True, exist_ok=True)
            if not _is_right_archive(asset, target):
                _save_archive(asset, target, progress)
        archives[target] = None
    return list(archives)


def _resolve(name: str | Asset) -> Asset:
    return name if isinstance(name, Asset) else catalog.asset(name)


def _resolve_all(names: Iterable[str | Asset] | None) -> list[Asset]:
    if names is None:
        return list(catalog.load_catalog().values())
    return [_resolve(name) for name in names]


def _state(asset: Asset) -> State:
    if asset.installed is not None:
        return "installed" if is_cached(asset) else "not installed"
    return "cached" if is_cached(asset) else "missing"


# --- the cache


def _is_complete(asset: Asset, folder: Path) -> bool:
    try:
        sizes = _read_manifest(folder)
        expected = {member.path: member.bytes for member in asset.members}
        if any(sizes.get(path) != size for path, size in expected.items()):
            return False
        return bool(sizes) and all((folder / path).stat().st_size == size for path, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _read_manifest(folder: Path) -> dict[str, int]:
    files: dict[str, int] = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["files"]
    return files


def _write_manifest(asset: Asset, folder: Path, sizes: dict[str, int]) -> None:
    content = {"asset": asset.name, "fingerprint": asset.fingerprint, "files": sizes}
    (folder / _MANIFEST).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _fetch_into(asset: Asset, folder: Path, progress: bool) -> None:
    with _working_folder(asset, folder.parent) as working:
        archive = _obtain(asset, working, progress)
        files = working / "files"
        files.mkdir()
        try:
            with archive.path.open("rb") as stream:
                _check_archive(asset, stream, archive.origin)
                sizes = _unpack(asset, stream, archive.origin, lambda path: _create(files / path))
        except AssetError as error:
            raise AssetError(f"{error} {archive.remedy}") from error
        # Written last: a folder without it counts as missing.
        _write_manifest(asset, files, sizes)
        if folder.exists():
            folder.rename(working / "replaced")
        files.rename(folder)


def _create(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb")


@contextlib.contextmanager
def _locked(asset: Asset, parent: Path, progress: bool) -> Iterator[None]:
    parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(parent / f".{asset.name}.lock")
    try:
        lock.acquire(timeout=1)
    except Timeout:
        if progress:
            print(f"Another process is fetching {asset.name}; waiting for it.", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        for leftover in parent.glob(f".{asset.name}.*.part"):
            # Of a process that was killed: whoever is alive holds the lock.
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _working_folder(asset: Asset, parent: Path) -> Iterator[Path]:
    # A sibling of the result, on the same file system, so that publishing is one atomic rename.
    working = parent / f".{asset.name}.{uuid.uuid4().hex[:8]}.part"
    working.mkdir()
    try:
        yield working
    finally:
        shutil.rmtree(working, ignore_errors=True)


@contextlib.contextmanager
def _explained(asset: Asset, folder: Path) -> Iterator[None]:
    """Turn what the system says about a disk or folder into an error that names the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL_DISK:
            raise _full_disk(asset, folder) from error
        raise AssetError(
            f"{asset.name} could not be written to {folder}: {error}. Use a folder that you can write to; FTKIT_CACHE "
            "names the cache."
        ) from error


def _full_disk(asset: Asset, folder: Path) -> AssetError:
    return AssetError(
        f"The disk was full while fetching {asset.name} into {folder}; nothing was left behind. Free some space, or "
        "use a folder on a larger disk; FTKIT_CACHE names the cache."
    )


def _require_space(folder: Path, asset: Asset, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise AssetError(
            f"{asset.name} needs {_megabytes(needed + _SPARE_BYTES)} MB in {folder}, and its disk has "
            f"{_megabytes(free)} MB free. Free some space, or use a folder on a larger disk; FTKIT_CACHE names "
            "the cache."
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f}"


# --- packages that are installed


def pip_install(*what: str) -> str:
    """Return the command that installs packages into the Python that runs, whichever is active in a terminal.

    Examples
    --------
    >>> pip_install("torch==2.9.*").endswith("-m pip install 'torch==2.9.*'")
    True
    """
    return in_shell(sys.executable, "-m", "pip", "install", *what)


def _installed_folder(asset: Asset, source: InstalledSource) -> Path:
    folder = _module_folder(source.module)
    if folder is None:
        raise AssetError(
            f"{asset.name} is made with the Python package {source.package}, which is not installed: run "
            f"`{pip_install(source.package)}`."
        )
    return folder


def _module_folder(module: str) -> Path | None:
    # Finding a top-level module does not run it.
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


# --- the sources


def _obtain(asset: Asset, working: Path, progress: bool, *, but_not: Path | None = None) -> _Archive:
    """Return the archive from the first source that has it; its hash is still to be checked."""
    mirrored = _in_mirror(asset)
    if mirrored is not None and mirrored.path != but_not:
        _require_space(working, asset, asset.member_bytes)
        return mirrored
    # pip keeps a temporary copy beside the file it delivers.
    _require_space(working, asset, max(2 * asset.archive_bytes, asset.archive_bytes + asset.member_bytes))
    reasons: list[str] = []
    for source in asset.sources:
        try:
            with _bar(asset, progress) as advance:
                return _download(asset, source, working, advance)
        except _UnreachableError as error:
            reasons.append(str(error))
    raise AssetError(_offline_message(asset, "; ".join(reasons)))


def _in_mirror(asset: Asset) -> _Archive | None:
    mirror = os.environ.get("FTKIT_MIRROR", "").strip()
    if not mirror:
        return None
    folder = Path(mirror).expanduser().absolute()
    if not folder.is_dir():
        raise AssetError(
            f"FTKIT_MIRROR names {mirror!r}, and {folder} is not a folder: correct it (a full path holds in notebooks "
            f"too), or unset it to download {asset.name}."
        )
    path = folder / asset.archive
    remedy = "Copy it into the mirror again, or take it out or unset FTKIT_MIRROR to have it downloaded."
    return _Archive(path, f"the mirror file {path}", remedy) if path.is_file() else None


def _download(asset: Asset, source: Source, working: Path, advance: Callable[[int], None]) -> _Archive:
    folder = working / "download"
    folder.mkdir(exist_ok=True)
    match source:
        case PipSource():
            return _download_with_pip(asset, source, folder, advance)
        case WebSource():
            return _download_from_web(asset, source, folder, advance)
        case InstalledSource():
            raise _UnreachableError(f"{source.package} is not downloaded")


def _download_with_pip(asset: Asset, source: PipSource, folder: Path, advance: Callable[[int], None]) -> _Archive:
    """Let pip, in a process of its own, download a wheel, so that the user's index, proxy and wheelhouse hold."""
    requirement = f"{source.package}=={source.version}"
    arrived, temporary = folder / "arrived", folder / "temporary"
    arrived.mkdir(exist_ok=True)
    temporary.mkdir(exist_ok=True)
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    # The wheel is only read, never installed, so any interpreter will do. pip's cache would keep a second copy.
    command += ["--ignore-requires-python", "--no-cache-dir", "--no-input", "--progress-bar=off"]
    command += ["--disable-pip-version-check", "--dest", str(arrived), requirement]
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    code, output = _run(command, environment, lambda: advance(_largest_file(arrived, temporary)))
    if code != 0:
        raise _pip_error(asset, requirement, folder, output)
    archive = arrived / asset.archive
    if not archive.is_file():
        found = ", ".join(sorted(path.name for path in arrived.iterdir())) or "nothing"
        raise AssetError(f"pip gave {found} for {requirement}, where {asset.archive} was expected.")
    advance(archive.stat().st_size)
    return _Archive(archive, f"pip ({requirement})")


def _run(command: list[str], environment: dict[str, str], watch: Callable[[], None]) -> tuple[int, str]:
    """Run a command to its end, calling `watch` from time to time; return its exit code and output."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        while True:
            try:
                output, _ = process.communicate(timeout=_POLL_SECONDS)
                return process.returncode, output
            except subprocess.TimeoutExpired:
                watch()
    finally:
        # Interrupted: the command does not outlive this call.
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _largest_file(*folders: Path) -> int:
    # pip downloads into its temporary folder and copies from there: the largest file is the archive so far.
    largest = 0
    for folder in folders:
        for root, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    largest = max(largest, (Path(root) / name).stat().st_size)
    return largest


def _pip_error(asset: Asset, requirement: str, folder: Path, output: str) -> AssetError:
    if "No module named pip" in output:
        return AssetError(
            f"{asset.name} is downloaded with pip, which this Python ({sys.executable}) has not got: run "
            f"`{in_shell(sys.executable)} -m ensurepip` (or `uv pip install pip`), or point FTKIT_MIRROR at a "
            f"folder that holds {asset.archive}."
        )
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return _full_disk(asset, folder.parents[1])
    return _UnreachableError(f"pip could not download {requirement}: {_last_relevant_line(output)}")


def _last_relevant_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    # A broken connection is the cause; the errors after it only say that nothing was found.
    for line in reversed(lines):
        broken = re.search(r"connection broken by '(.*)': ", line)
        if broken:
            # Without the representations of pip's own objects.
            return re.sub(r"<[^>]*>:? ?", "", broken[1])
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    # After an unforeseen error pip shows where it was; what it was comes last.
    if errors and errors[-1] == "Exception:":
        errors = []
    return (errors or lines or ["it gave no reason"])[-1].rstrip(".")


def _download_from_web(asset: Asset, source: WebSource, folder: Path, advance: Callable[[int], None]) -> _Archive:
    path = folder / asset.archive
    # The archive is packed anew for each download, so its size may vary a little, but not without bound.
    limit = 2 * asset.archive_bytes + _SPARE_BYTES
    received = 0
    with path.open("wb") as file:
        for block in _web_blocks(source.url):
            file.write(block)
            received += len(block)
            advance(received)
            if received > limit:
                raise AssetError(f"{source.url} sent more than {_megabytes(limit)} MB for {asset.name}: refused.")
    return _Archive(path, source.url)


def _web_blocks(url: str) -> Iterator[bytes]:
    # A generator, so that errors of the network are told from those of the disk that the blocks go to.
    request = urllib.request.Request(url, headers={"User-Agent": "ftkit"})
    try:
        with urllib.request.urlopen(request, timeout=_WEB_TIMEOUT_SECONDS, context=_certificates()) as response:
            length = int(response.headers.get("Content-Length") or 0)
            received = 0
            while block := response.read(_BLOCK_BYTES // 16):
                received += len(block)
                yield block
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise _UnreachableError(f"{url} could not be reached: {reason}") from error
    if received < length:
        raise _UnreachableError(f"{url} broke off after {received:,} of {length:,} bytes")


def _certificates() -> ssl.SSLContext:
    """Trust what the system trusts, and certifi where that has nothing loaded yet, as python.org's Python on a Mac."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        context.load_verify_locations(certifi.where())
    return context


def _offline_message(asset: Asset, reason: str) -> str:
    cache = cache_folder()
    return (
        f"{asset.name} is not in the cache {cache} and could not be downloaded ({reason}): go online and run "
        f"`ftkit fetch {asset.name}`, or point FTKIT_MIRROR at a folder that holds {asset.archive}, or copy the cache "
        "folder of a machine that has it and name the copy in FTKIT_CACHE."
    )


@contextlib.contextmanager
def _bar(asset: Asset, progress: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar of bytes; what it yields is told how many bytes have come so far."""
    # The plain bar, not the widget: it stays readable in a saved notebook, a log and a terminal.
    with tqdm(
        total=asset.archive_bytes,
        desc=f"Downloading {asset.name}",
        unit="B",
        unit_scale=True,
        file=sys.stderr,
        disable=not progress,
    ) as bar:
        yield lambda received: _advance(bar, received)


def _advance(bar: tqdm[NoReturn], received: int) -> None:
    bar.update(max(0, min(received, bar.total or received) - bar.n))


# --- archives


def _check_archive(asset: Asset, stream: BinaryIO, origin: str) -> None:
    if not asset.archive_sha256:
        return
    found = _stream_digest(stream).hex()
    if found != asset.archive_sha256:
        raise AssetError(
            f"{_wrong_hash(asset.archive, asset.archive_sha256, found)} It came from {origin}; it was not used."
        )


def _unpack(asset: Asset, stream: BinaryIO, origin: str, create: Callable[[str], BinaryIO]) -> dict[str, int]:
    """Copy the named members, and only those, checking each; return the size of each by its path."""
    stream.seek(0)
    try:
        with zipfile.ZipFile(stream) as archive:
            entries = _safe_entries(asset, archive, origin)
            sizes: dict[str, int] = {}
            for member in asset.members:
                sizes |= _unpack_member(asset, archive, entries, member, origin, create)
            for member_set in asset.member_sets:
                sizes |= _unpack_set(asset, archive, entries, member_set, origin, create)
            return sizes
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise AssetError(f"The archive of {asset.name} from {origin} is damaged: {error}.") from error


def _safe_entries(asset: Asset, archive: zipfile.ZipFile, origin: str) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        # The name as it is in the archive: `filename` has it changed on some systems.
        name = entry.orig_filename
        if not catalog.is_safe_path(name):
            raise _refused(asset, origin, f"its member {name!r} would leave its folder")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise _refused(asset, origin, f"its member {name!r} is a symbolic link")
        if name in entries:
            raise _refused(asset, origin, f"it holds {name!r} twice")
        entries[name] = entry
    return entries


def _refused(asset: Asset, origin: str, reason: str) -> AssetError:
    return AssetError(f"The archive of {asset.name} from {origin} is refused: {reason}.")


def _unpack_member(
    asset: Asset,
    archive: zipfile.ZipFile,
    entries: dict[str, zipfile.ZipInfo],
    member: Member,
    origin: str,
    create: Callable[[str], BinaryIO],
) -> dict[str, int]:
    if member.name not in entries:
        raise _refused(asset, origin, f"it lacks {member.name!r}")
    size, digest = _copy(archive, entries[member.name], member.bytes, member.path, create)
    if digest.hex() != member.sha256:
        raise AssetError(
            f"{_wrong_hash(member.name, member.sha256, digest.hex())} It came from {origin}; it was not used."
        )
    return {member.path: size}


def _unpack_set(
    asset: Asset,
    archive: zipfile.ZipFile,
    entries: dict[str, zipfile.ZipInfo],
    member_set: MemberSet,
    origin: str,
    create: Callable[[str], BinaryIO],
) -> dict[str, int]:
    names = [name for name, entry in entries.items() if not entry.is_dir() and _matches(name, member_set.pattern)]
    if len(names) != member_set.count:
        count = f"it holds {len(names):,} files like {member_set.pattern!r}, expected {member_set.count:,}"
        raise _refused(asset, origin, count)
    sizes: dict[str, int] = {}
    digests: dict[str, bytes] = {}
    for name in names:
        path = "/".join(filter(None, (member_set.folder, name.rpartition("/")[2])))
        if path in sizes:
            raise _refused(asset, origin, f"it holds {path!r} twice")
        room = member_set.bytes - sum(sizes.values())
        sizes[path], digests[path] = _copy(archive, entries[name], room, path, create)
    found = _digest_of_digests(digests)
    if found != member_set.digest:
        what = _wrong_hash(f"The content of {member_set.pattern!r}", member_set.digest, found)
        raise AssetError(f"{what} It came from {origin}; it was not used.")
    return sizes


def _matches(name: str, pattern: str) -> bool:
    name_parts, pattern_parts = name.split("/"), pattern.split("/")
    return len(name_parts) == len(pattern_parts) and all(map(fnmatch.fnmatchcase, name_parts, pattern_parts))


def _copy(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, room: int, path: str, create: Callable[[str], BinaryIO]
) -> tuple[int, bytes]:
    """Copy one member, at most a byte more than there is room for, whatever its header says; hash it meanwhile."""
    digest = hashlib.sha256()
    size = 0
    with archive.open(entry) as source, create(path) as target:
        while size <= room and (block := source.read(min(_BLOCK_BYTES, room + 1 - size))):
            digest.update(block)
            target.write(block)
            size += len(block)
    return size, digest.digest()


def _stream_digest(stream: BinaryIO) -> bytes:
    digest = hashlib.sha256()
    while block := stream.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.digest()


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as stream:
        return _stream_digest(stream)


def _digest_of_digests(digests: dict[str, bytes]) -> str:
    return hashlib.sha256(b"".join(digests[path] for path in sorted(digests))).hexdigest()


def _wrong_hash(what: str | Path, expected: str, found: str) -> str:
    return f"{what} is not what the catalog expects: sha256 expected {expected}, found {found}."


# --- a mirror folder for others


def _is_right_archive(asset: Asset, path: Path) -> bool:
    try:
        _check_whole_archive(asset, _Archive(path, str(path)))
    except (AssetError, OSError):
        return False
    return True


def _check_whole_archive(asset: Asset, archive: _Archive) -> None:
    with archive.path.open("rb") as stream:
        _check_archive(asset, stream, archive.origin)
        _unpack(asset, stream, archive.origin, _discard)


def _discard(path: str) -> BinaryIO:
    return Path(os.devnull).open("wb")


def _save_archive(asset: Asset, target: Path, progress: bool) -> None:
    with _working_folder(asset, target.parent) as working:
        archive = _obtain(asset, working, progress, but_not=target)  # a damaged one can't mend itself
        copy = working / "archive"
        shutil.copyfile(archive.path, copy)
        try:
            # The copy is checked, not the original: memory sticks fail.
            _check_whole_archive(asset, _Archive(copy, archive.origin))
        except AssetError as error:
            raise AssetError(f"{error} {archive.remedy}") from error
        copy.replace(target)
