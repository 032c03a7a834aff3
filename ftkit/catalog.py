"""The catalog of models and data sets: ``catalog.toml`` read into `Asset` objects.

Nothing here touches the network or the cache; `ftkit.fetch` does.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ftkit.errors import FtkitError, UnknownNameError
from ftkit.paths import data_folder

__all__ = [
    "Asset",
    "Citation",
    "InstalledSource",
    "Member",
    "MemberSet",
    "PipSource",
    "Source",
    "WebSource",
    "asset",
    "card_text",
    "is_safe_path",
    "load_catalog",
]

Kind = Literal["model", "data"]


@dataclass(frozen=True)
class Citation:
    """The publication to cite for an asset.

    Examples
    --------
    >>> print(Citation("A. Author, B. Author", "A title", 2020, venue="A venue"))
    A. Author, B. Author (2020). A title. A venue.
    """

    authors: str
    title: str
    year: int
    venue: str = ""
    url: str = ""

    def __str__(self) -> str:
        parts = [f"{self.authors} ({self.year}). {self.title}."]
        parts += [f"{self.venue}."] if self.venue else []
        parts += [self.url] if self.url else []
        return " ".join(parts)


@dataclass(frozen=True)
class Member:
    """One file of an asset.

    Attributes
    ----------
    path
        Where the file lies in the asset's folder in the cache.
    name
        The file's full name in the archive.
    bytes
        Its size in bytes.
    sha256
        The sha256 of its content, in hexadecimal.
    """

    path: str
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class MemberSet:
    """Many files of an asset, named by a pattern and checked by one digest.

    Attributes
    ----------
    pattern
        Shell pattern for full names in the archive, compared folder by folder (``*`` matches no slash).
    folder
        The folder, in the asset's folder in the cache, that holds the files; empty for the folder itself.
    count
        How many files there are.
    bytes
        Their size together in bytes.
    digest
        The sha256 over the raw sha256 digests of the files, in the order of their base names.
    """

    pattern: str
    folder: str
    count: int
    bytes: int
    digest: str


@dataclass(frozen=True)
class PipSource:
    """A wheel that pip downloads; it is never installed or imported."""

    package: str
    version: str


@dataclass(frozen=True)
class WebSource:
    """A web address that serves the archive."""

    url: str


@dataclass(frozen=True)
class InstalledSource:
    """An installed Python package from which ftkit makes the data itself."""

    package: str
    module: str


Source = PipSource | WebSource | InstalledSource


@dataclass(frozen=True)
class Asset:
    """A model or data set in the catalog.

    Attributes
    ----------
    name
        The name that ftkit uses, such as ``"minilm"``.
    kind
        ``"model"`` or ``"data"``.
    title, description
        What it is, for people.
    licence, licence_url
        The licence and where its text is (empty when there is no such address).
    homepage
        Where its makers describe it.
    version
        Version of the package, or commit, that is pinned; empty for what is made here.
    citations
        The publications to cite, the most important first.
    members, member_sets
        Its files.
    sources
        Where its archive can be had, in the order in which they are tried.
    archive, archive_bytes, archive_sha256
        The archive's file name, size in bytes and sha256 (empty when the archive's bytes vary).
    notice
        Credit and licence remarks to show wherever the asset appears; empty when there are none.
    card
        The data card's path in ftkit's data folder; empty for models.
    """

    name: str
    kind: Kind
    title: str
    description: str
    licence: str
    citations: tuple[Citation, ...]
    homepage: str
    version: str
    sources: tuple[Source, ...]
    members: tuple[Member, ...] = ()
    member_sets: tuple[MemberSet, ...] = ()
    licence_url: str = ""
    archive: str = ""
    archive_bytes: int = 0
    archive_sha256: str = ""
    notice: str = ""
    card: str = ""

    @property
    def citation(self) -> Citation:
        """The publication to cite first."""
        return self.citations[0]

    @property
    def member_bytes(self) -> int:
        """Size of its files in the cache, in bytes."""
        return sum(member.bytes for member in self.members) + sum(files.bytes for files in self.member_sets)

    @property
    def fingerprint(self) -> str:
        """The sha256 over what its files must be: two assets with one fingerprint have the same files."""
        content = [asdict(member) for member in self.members] + [asdict(files) for files in self.member_sets]
        return hashlib.sha256(json.dumps([self.name, content], sort_keys=True).encode()).hexdigest()

    @property
    def installed(self) -> InstalledSource | None:
        """The installed package from which it is made, or None when it is downloaded."""
        return next((source for source in self.sources if isinstance(source, InstalledSource)), None)


def load_catalog() -> dict[str, Asset]:
    """Return every asset by name, in the catalog's order.

    Returns
    -------
    dict of str to Asset
        A new dictionary on each call; the assets themselves cannot be changed.

    Raises
    ------
    FtkitError
        When ``catalog.toml`` is missing or an entry is incomplete or unsafe.

    Examples
    --------
    >>> load_catalog()["elpv"].licence
    'CC BY-NC-SA 4.0'
    """
    return dict(_read_catalog(data_folder() / "catalog.toml"))


def asset(name: str) -> Asset:
    """Return one asset of the catalog.

    Parameters
    ----------
    name
        Its name, such as ``"minilm"``.

    Raises
    ------
    UnknownNameError
        When the catalog has no such name; the message lists those it has.

    Examples
    --------
    >>> asset("mnist-5k").kind
    'data'
    """
    catalog = load_catalog()
    if name not in catalog:
        raise UnknownNameError("asset", name, catalog)
    return catalog[name]


def card_text(name: str) -> str:
    """Return the data card of a data set, in Markdown; empty for a model.

    Parameters
    ----------
    name
        The asset's name.

    Raises
    ------
    UnknownNameError
        When the catalog has no such name.

    Examples
    --------
    >>> card_text("elpv").splitlines()[0]
    '# ELPV solar cells'
    """
    card = asset(name).card
    return (data_folder() / card).read_text(encoding="utf-8") if card else ""


def is_safe_path(path: str) -> bool:
    r"""Tell whether a path from an archive stays inside the folder it is joined to, on every system.

    Parameters
    ----------
    path
        A relative path with forward slashes, as archives hold them; a folder may end in a slash.

    Examples
    --------
    >>> [is_safe_path(path) for path in ("a/b.txt", "../b.txt", "/b.txt", "C:b.txt", "a\\b.txt")]
    [True, False, False, False, False]
    """
    parts = path.removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        return False
    # A colon is a drive or a hidden stream and a backslash a separator on Windows; control characters are
    # never needed.
    return re.search(r"[\\:\x00-\x1f\x7f]", path) is None


@functools.cache
def _read_catalog(path: Path) -> dict[str, Asset]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise FtkitError(f"The catalog {path} cannot be read: {error}. Install ftkit again.") from error
    return {name: _read_asset(name, table, path) for name, table in tables.items()}


def _read_asset(name: str, table: dict[str, Any], path: Path) -> Asset:
    fields = dict(table)
    try:
        result = Asset(
            name=name,
            sources=tuple(_read_source(source) for source in fields.pop("sources")),
            members=tuple(Member(**member) for member in fields.pop("members", ())),
            member_sets=tuple(MemberSet(**member_set) for member_set in fields.pop("member_sets", ())),
            citations=tuple(Citation(**citation) for citation in fields.pop("citations")),
            **fields,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FtkitError(f"The entry {name!r} of the catalog {path} is not complete: {error}.") from error
    places = [member.path for member in result.members]
    places += [member_set.folder for member_set in result.member_sets if member_set.folder]
    unsafe = [place for place in places if not is_safe_path(place)]
    if unsafe:
        raise FtkitError(f"The entry {name!r} of the catalog {path} names an unsafe path: {unsafe[0]!r}.")
    return result


def _read_source(table: dict[str, str]) -> Source:
    fields = dict(table)
    kinds: dict[str, type[PipSource | WebSource | InstalledSource]]
    kinds = {"pip": PipSource, "web": WebSource, "installed": InstalledSource}
    kind = fields.pop("kind")
    if kind not in kinds:
        raise ValueError(f"unknown kind of source {kind!r}")
    return kinds[kind](**fields)
