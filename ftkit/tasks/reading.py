"""Reading one's own data: tables of texts, tables of paths, and folders with one folder a class."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ftkit.backbones import LONGEST_SECONDS
from ftkit.errors import DataError
from ftkit.progress import progress_bar
from ftkit.tasks.base import SAMPLE_RATE, Modality
from ftkit.tasks.sound import read_sound

if TYPE_CHECKING:
    import pandas

__all__ = [
    "IMAGE_SIZE",
    "LONGEST_SECONDS",
    "LONGEST_TOKENS",
    "Columns",
    "Examples",
    "Source",
    "list_items",
    "read_examples",
]

IMAGE_SIZE = 160
LONGEST_TOKENS = 128
SWALLOWED = "\t[^\n]*\n|\n[^\n]*\t"
"""A tab beside a line end within a text: the ends of rows that a quote has taken in."""

Source: TypeAlias = "str | Path | pandas.DataFrame"

_IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"))
_AUDIO_SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf"))
_SUFFIXES: dict[Modality, frozenset[str]] = {"image": _IMAGE_SUFFIXES, "audio": _AUDIO_SUFFIXES}
_TAB_SUFFIXES = frozenset((".tsv", ".tab"))
_TABLE_SUFFIXES = _TAB_SUFFIXES | {".csv", ".txt", ""}
_KINDS: dict[Modality, str] = {"image": "picture", "audio": "recording", "text": "text"}
_USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "text": ("text", "sentence", "review", "comment", "message", "content", "body", "tweet", "document"),
    "image": ("image", "picture", "photo", "image_path", "image_file"),
    "audio": ("audio", "recording", "sound", "clip", "audio_path", "audio_file"),
    "label": ("label", "class", "category", "target", "sentiment", "stars", "rating"),
}
_SPLIT_NAMES = frozenset(("train", "training", "test", "testing", "val", "valid", "validation", "dev"))
_ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held."""
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""The `PIL.Image.Transpose` that brings each value of that tag upright; 1 is upright."""
_MOST_NAMED = 5
_LONGEST_NAMED = 200


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a table, each None to be guessed (the group: to be absent).

    Parameters
    ----------
    text, image, audio
        The column of texts, or of paths to pictures or recordings; at most one is given.
    label
        The column of classes.
    group
        The column of what splits never share.
    """

    text: str | None = None
    image: str | None = None
    audio: str | None = None
    label: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        if len(self.contents) > 1:
            given = " and ".join(f"{modality}={column!r}" for modality, column in self.contents.items())
            raise DataError(f"A task is of texts, images or recordings, but {given} were given. Give one of them.")

    @property
    def contents(self) -> dict[Modality, str]:
        """The content column that was given, by modality; empty when it is to be guessed."""
        columns: dict[Modality, str | None] = {"text": self.text, "image": self.image, "audio": self.audio}
        return {modality: column for modality, column in columns.items() if column is not None}


@dataclass
class Examples:
    """What was read: one entry an example in every list, and remarks on what was left out."""

    modality: Modality
    contents: list[Any]
    labels: list[str]
    groups: list[str] | None
    identifiers: list[str]
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)


def read_examples(source: Source, columns: Columns, *, progress: bool = False) -> Examples:
    """Read a table (a path or a DataFrame) or a folder, with a progress bar where that is wanted and takes long.

    Raises
    ------
    DataError
        When it does not exist, is no table or folder of classes, or a row of it cannot be used.
    """
    if not isinstance(source, (str, Path)):
        return _read_table(source, columns, Path.cwd(), "the table", progress)
    path = _existing(source)
    if path.is_dir():
        if columns.label is not None or columns.group is not None or columns.text is not None:
            raise DataError(
                f"{path} is a folder, which has no columns: its folders are the classes. "
                "Leave text, label and group out, or give a table of paths."
            )
        return _read_folder(path, columns, progress)
    return _read_table(_load_table(path), columns, path.parent, str(path), progress)


def list_items(source: str | Path, modality: Modality, column: str | None = None) -> list[str]:
    """List what a file or folder holds to be classified: texts, or paths of pictures or recordings; no classes.

    Parameters
    ----------
    source
        A CSV or TSV file; or, of pictures and recordings, one of them or a folder that holds some, at any depth.
    modality
        What is looked for.
    column
        The column of the texts or paths (relative to the table's folder); guessed where it has a usual name or is
        the only one.

    Raises
    ------
    DataError
        When there is nothing of the kind, or a row or a file is missing.
    """
    path = _existing(source)
    is_table = path.is_file() and path.suffix.lower() in _TABLE_SUFFIXES
    if column is not None and not is_table:
        raise DataError(f"{path} is no table, and has no column {column!r}. Leave the column out, or give a CSV file.")
    if not is_table:
        return _files_to_classify(path, modality)
    table = _load_table(path).rename(columns=str)
    if column is None:
        guesses = list(table.columns) if len(table.columns) == 1 else _usual_columns(table, modality)
        if len(guesses) != 1:
            raise DataError(f"Cannot tell which column of {path} to classify. Name the column. {_listing(table)}")
        column = guesses[0]
    _require(table, column, "column", str(path))
    items = [_as_text(value) for value in table[column]]
    if not items:
        raise DataError(f"{path} holds no rows. Give one row an example.")
    _require_filled(list(range(len(items))), items, column, str(path))
    if modality == "text":
        return [whole_characters(item) for item in items]
    files = [_beside(path.parent, item) for item in items]
    missing = [f"{shortly(file)} (row {row + 1} of {path})" for row, file in enumerate(files) if not is_file(file)]
    if missing:
        raise DataError(f"There is no file {missing[0]}. Paths are relative to the table's folder.")
    return [str(file) for file in files]


def _files_to_classify(path: Path, modality: Modality) -> list[str]:
    """Return a picture or recording, or those in a folder."""
    if modality == "text":
        raise DataError(f"{path} is no table, and texts come from one. Give a CSV file with a column of texts.")
    files = [path] if path.is_file() else _visible_files(path)
    found = [str(each) for each in files if each.suffix.lower() in _SUFFIXES[modality]]
    if not found:
        kind, known = _KINDS[modality], _listed(_SUFFIXES[modality])
        what = "is not" if path.is_file() else "does not hold"
        raise DataError(f"{path} {what} a {kind} of a kind that can be read ({known}). Convert it, or give another.")
    return found


def _listed(suffixes: Iterable[str]) -> str:
    return ", ".join(sorted(suffixes))


def _existing(source: str | Path) -> Path:
    path = _beside(Path(), str(source))
    if not path.exists():
        raise DataError(f"{path} does not exist (seen from {Path.cwd()}). Check the name, or give the full path.")
    return path


def _load_table(path: Path) -> pandas.DataFrame:
    import pandas

    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        separator = "\t" if path.suffix.lower() in _TAB_SUFFIXES else ","
        if separator not in header and ";" in header:
            separator = ";"
        table = _parsed(path, separator)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file in UTF-8: {error}. Save it as CSV in UTF-8.") from error
    except (pandas.errors.ParserError, pandas.errors.EmptyDataError, OSError) as error:
        raise DataError(f"Cannot read {path} as a table: {str(error).strip()}. Give a CSV or TSV file.") from error
    if not isinstance(table.index, pandas.RangeIndex):  # pandas takes what is too much for an index
        raise DataError(
            f"The rows of {path} have more fields than its {len(table.columns)} columns. "
            'Put texts that hold the separator in quotes: "fine, but long",positive.'
        )
    return table


def _parsed(path: Path, separator: str) -> pandas.DataFrame:
    """Read a table whose texts stand in quotes where they need some; between tabs a quote may also stay open.

    Many files with tabs know no quotes. There one that opens a text swallows the rows up to the next, or to the end.
    """
    import pandas

    def read(**options: Any) -> pandas.DataFrame:
        # Words such as "NA" or "None" are texts and labels like any other; only nothing is nothing.
        known: dict[str, Any] = {"dtype": str, "keep_default_na": False, "na_values": [""], "encoding": "utf-8-sig"}
        return pandas.read_csv(path, sep=separator, **known, **options)

    if separator != "\t":
        table = read()
        row = _swallowing_row(table, separator)
        if row is not None:
            raise DataError(
                f"A quote opens a text in row {row + 1} of {path} and is not closed: rows after it became part of the "
                "text. Put such texts in quotes and double their own, as a spreadsheet does when it saves CSV."
            )
        return table
    try:
        table = read()
    except pandas.errors.ParserError:
        return read(quoting=csv.QUOTE_NONE)
    swallowed = any(table[column].str.contains(SWALLOWED, na=False).any() for column in table.columns)
    return read(quoting=csv.QUOTE_NONE) if swallowed else table


def _swallowing_row(table: pandas.DataFrame, separator: str) -> int | None:
    """Position of the first row with a cell of whole rows, as the values of other columns at its line ends tell."""
    for place, column in enumerate(table.columns):
        cells = table[column].tolist()
        found = [row for row, cell in enumerate(cells) if isinstance(cell, str) and "\n" in cell]
        if not found:
            continue
        values = [table[name].dropna().unique() for name in table.columns]
        before = tuple(f"{value}{separator}" for each in values[:place] for value in each)
        after = tuple(f"{separator}{value}" for each in values[place + 1 :] for value in each)
        for row in found:
            *ended, last = cells[row].split("\n")
            begun = [*ended[1:], last]
            if all(line.endswith(after) for line in ended) or all(line.startswith(before) for line in begun):
                return row
    return None


def _read_table(table: pandas.DataFrame, columns: Columns, folder: Path, where: str, progress: bool) -> Examples:
    table = table.rename(columns=str)
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise DataError(f"{where} has two columns named {twice!r}. Rename one of them.")
    modality, content_column = _content_column(table, columns, where)
    label_column = _label_column(table, columns, where, content_column)
    if columns.group is not None:
        _require(table, columns.group, "group", where)
    notes: list[str] = []
    contents = [_as_text(value) for value in table[content_column]]
    labels = [_as_text(value) for value in table[label_column]]
    blank = [not content and not label for content, label in zip(contents, labels, strict=True)]
    if any(blank):
        notes.append(f"{sum(blank)} blank rows of {where} were left out.")
    rows = [row for row, is_blank in enumerate(blank) if not is_blank]
    if not rows:
        raise DataError(f"{where} holds no rows. Give one row an example.")
    _require_filled(rows, labels, label_column, where)
    _require_filled(rows, contents, content_column, where)
    groups = None
    if columns.group is not None:
        groups = [_as_text(value) for value in table[columns.group]]
        _require_filled(rows, groups, columns.group, where)
        groups = [groups[row] for row in rows]
    read = _Reader(modality)
    bar = f"Reading {_KINDS[modality]}s" if progress else None
    return Examples(
        modality=modality,
        contents=read.all([(contents[row], folder, f" (row {row + 1} of {where})") for row in rows], bar),
        labels=[labels[row] for row in rows],
        groups=groups,
        identifiers=[f"row {row + 1}" if modality == "text" else f"row {row + 1}: {contents[row]}" for row in rows],
        notes=[*notes, *read.notes()],
    )


def _read_folder(folder: Path, columns: Columns, progress: bool) -> Examples:
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise DataError(f"{folder} holds no folders. Put the files into one folder a class, named after the class.")
    if {path.name.lower() for path in classes} <= _SPLIT_NAMES:
        raise DataError(
            f"The folders of {folder} are named after splits, not classes. In Python give each its own: "
            f"own_task({str(folder / classes[0].name)!r}, test=...); on the command line give one folder, to be cut."
        )
    files = _visible_files(folder)
    modality = _modality_of_files(files, columns, folder)
    chosen = [path for path in files if path.suffix.lower() in _SUFFIXES[modality] and path.parent != folder]
    empty = [path.name for path in classes if not any(file.is_relative_to(path) for file in chosen)]
    if empty:
        raise DataError(
            f"The folder {empty[0]!r} of {folder} holds no {_KINDS[modality]} of a kind that can be read "
            f"({_listed(_SUFFIXES[modality])}). Add some, convert what is there, or take the folder out."
        )
    read = _Reader(modality)
    bar = f"Reading {folder.resolve().name}" if progress else None
    contents = read.all([(str(path.relative_to(folder)), folder, "") for path in chosen], bar)
    notes = read.notes()
    if len(chosen) < len(files):
        others = Counter(path.suffix.lower() or path.name for path in set(files) - set(chosen))
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(_MOST_NAMED))
        notes.append(f"{len(files) - len(chosen)} other files in {folder} were left out: {kinds}.")
    return Examples(
        modality=modality,
        contents=contents,
        labels=[printable(path.relative_to(folder).parts[0]) for path in chosen],
        groups=None,
        identifiers=[printable(path.relative_to(folder).as_posix()) for path in chosen],
        notes=notes,
    )


class _Reader:
    """Reads the content of an example and counts what it had to shorten."""

    def __init__(self, modality: Modality) -> None:
        self._modality = modality
        self._shortened = 0

    def all(self, wanted: Sequence[tuple[str, Path, str]], bar: str | None) -> list[Any]:
        """Read contents, each with the folder that its path begins at and the place to name in an error."""
        contents: list[Any] = []
        with progress_bar(bar, len(wanted)) as advance:
            for content, folder, place in wanted:
                contents.append(self(content, folder, place))
                advance(1)
        return contents

    def __call__(self, content: str, folder: Path, place: str) -> Any:
        if self._modality == "text":
            self._shortened += len(content.split()) > LONGEST_TOKENS - 2  # one begins a text and one ends it
            return whole_characters(content)
        path = _beside(folder, content)
        if not is_file(path):
            raise DataError(f"{shortly(path)} does not exist{place}. Paths are relative to the table's folder.")
        try:
            return read_image(path) if self._modality == "image" else self._read_recording(path)
        except DataError as error:
            raise DataError(f"{error}{place}") from error

    def notes(self) -> list[str]:
        if self._shortened == 0:
            return []
        if self._modality == "text":
            return [
                f"Of long texts the model reads the first {LONGEST_TOKENS} tokens, words and parts of words; texts "
                f"that have more words than fit: {self._shortened}."
            ]
        return [f"Recordings that were cut to their first {LONGEST_SECONDS:.0f} seconds: {self._shortened}."]

    def _read_recording(self, path: Path) -> np.ndarray:
        samples = read_sound(path, longest=LONGEST_SECONDS + 1)  # one more shows that there is more
        longest = int(LONGEST_SECONDS * SAMPLE_RATE)
        self._shortened += len(samples) > longest
        return samples[:longest]


def read_image(path: Path, size: int = IMAGE_SIZE) -> np.ndarray:
    """Return a picture as (size, size, 3) uint8: shorter side resized, centre kept."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            opened.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded at a fraction of its size
            opened.load()
            # Pillow's own `exif_transpose` writes all tags anew, and fails where a camera wrote one in a way of its own
            turn = _TURNS.get(opened.getexif().get(_ORIENTATION, 1))
            upright = opened.copy() if turn is None else opened.transpose(Image.Transpose(turn))
    except Exception as error:  # a damaged file may raise anything, and would not be named
        raise DataError(f"Cannot read {path} as a picture: {error}. Take it out or save it as PNG.") from error
    if upright.mode.startswith(("I", "F")):
        # More than eight bits: Pillow would clip to 255, so the range of the picture is stretched instead.
        pixels = np.asarray(upright, dtype=np.float64)
        if not np.isfinite(pixels).all():
            raise DataError(
                f"{path} has pixels that are no numbers (NaN or infinite). Give them a value, or take the picture out."
            )
        low, high = pixels.min(), pixels.max()
        upright = Image.fromarray(np.uint8(255 * (pixels - low) / max(high - low, 1e-12)))
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(ImageOps.fit(upright.convert("RGB"), (size, size), Image.Resampling.BICUBIC))


def _content_column(table: pandas.DataFrame, columns: Columns, where: str) -> tuple[Modality, str]:
    for modality, column in columns.contents.items():
        _require(table, column, modality, where)
        return modality, column
    modalities: tuple[Modality, ...] = ("text", "image", "audio")
    guesses = [(modality, column) for modality in modalities for column in _usual_columns(table, modality)]
    if len(guesses) != 1:
        raise DataError(
            f"Cannot tell which column of {where} holds the examples. Say so with text=, image= or audio= (on the "
            f"command line --text, --image or --audio). {_listing(table)}"
        )
    return guesses[0]


def _label_column(table: pandas.DataFrame, columns: Columns, where: str, content_column: str) -> str:
    if columns.label is not None:
        _require(table, columns.label, "label", where)
        return columns.label
    others = [column for column in table.columns if column not in (content_column, columns.group)]
    guesses = [column for column in _usual_columns(table, "label") if column in others]
    if len(others) == 1:
        guesses = others
    if len(guesses) != 1:
        raise DataError(
            f"Cannot tell which column of {where} holds the classes. Say so with label= (on the command line --label). "
            f"{_listing(table)}"
        )
    return guesses[0]


def _usual_columns(table: pandas.DataFrame, role: str) -> list[str]:
    return [column for column in table.columns if column.strip().lower() in _USUAL_NAMES[role]]


def _require(table: pandas.DataFrame, column: str, role: str, where: str) -> None:
    if column not in table.columns:
        raise DataError(f"{where} has no column {column!r}, given as {role}=. {_listing(table)}")


def _listing(table: pandas.DataFrame) -> str:
    return "Its columns: " + ", ".join(repr(column) for column in table.columns) + "."


def _require_filled(rows: list[int], values: list[str], column: str, where: str) -> None:
    missing = [str(row + 1) for row in rows if not values[row]]
    if missing:
        named = ", ".join(missing[:_MOST_NAMED]) + (", ..." if len(missing) > _MOST_NAMED else "")
        raise DataError(
            f"{len(missing)} rows of {where} have nothing in the column {column!r}: row {named}. "
            "Fill them in, or take the rows out."
        )


def _as_text(value: Any) -> str:
    import pandas

    if isinstance(value, np.ndarray):
        raise DataError(
            f"A cell of the table holds an array of shape {value.shape}. Give texts, or the paths of files."
        )
    if value is None or value is pandas.NA or value != value:  # NaN and NaT differ from themselves
        return ""
    if isinstance(value, float) and value.is_integer():
        # A whole-number column with a gap is read as floats: 1.0 is the class "1".
        return str(int(value))
    return re.sub(r"\x00", "", str(value)).strip()


def _beside(folder: Path, name: str) -> Path:
    """Return the path that a table names, relative to the table's folder or from somebody's home."""
    try:
        return folder / Path(name).expanduser()
    except RuntimeError:  # "~draft.png" is nobody's home
        return folder / name


def whole_characters(text: str) -> str:
    r"""Join halves of characters that a text holds apart, and put a sign in the place of a half that stands alone.

    Tokenizers and files take no halves, which come from escapes in JSON and from texts that were cut.

    Examples
    --------
    >>> whole_characters("fine \ud83d\ude00 \ud83d") == "fine \U0001f600 \ufffd"
    True
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def printable(name: str) -> str:
    r"""Write the bytes of a file's name that are no UTF-8 as escapes; names that differ stay different.

    Examples
    --------
    >>> print(printable("caf\udce9.jpg"), printable("café.jpg"))
    caf\xe9.jpg café.jpg
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_file(path: Path) -> bool:
    """Whether there is a file of that name; what is too long for a name, or out of reach, is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def shortly(path: str | Path) -> str:
    """Write a path, or the beginning of what was given in the place of one.

    Examples
    --------
    >>> len(shortly("data:image/png;base64," + 10_000 * "A"))
    203
    """
    written = str(path)
    return written if len(written) <= _LONGEST_NAMED else f"{written[:_LONGEST_NAMED]}..."


def _visible_files(folder: Path) -> list[Path]:
    """Return the files in a folder and below, in order; folders that are links are followed, though not in a circle."""
    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        visible = [each for each in folders if not each.startswith(".")]
        folders[:] = [each for each in visible if os.path.realpath(Path(place, each)) not in seen]
        found += [Path(place, each) for each in names if not each.startswith(".")]
    return sorted(path for path in found if path.is_file())


def _modality_of_files(files: list[Path], columns: Columns, folder: Path) -> Modality:
    for modality in columns.contents:
        return modality
    pictures = sum(path.suffix.lower() in _IMAGE_SUFFIXES for path in files)
    recordings = sum(path.suffix.lower() in _AUDIO_SUFFIXES for path in files)
    if pictures and recordings:
        raise DataError(
            f"{folder} holds both pictures ({pictures}) and recordings ({recordings}). "
            "Put them into folders of their own."
        )
    if not pictures and not recordings:
        raise DataError(
            f"{folder} holds neither pictures ({_listed(_IMAGE_SUFFIXES)}) nor recordings "
            f"({_listed(_AUDIO_SUFFIXES)}). Convert what it holds to one of these kinds. For texts, give a CSV table "
            "with a column of texts and a column of labels."
        )
    return "image" if pictures else "audio"
