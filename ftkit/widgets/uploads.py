"""Files that a learner uploads in the browser, and task items as files that a browser shows or plays."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np

from ftkit.errors import DataError
from ftkit.tasks.reading import IMAGE_SIZE

__all__ = ["LARGEST_UPLOAD", "as_png", "read_upload"]

LARGEST_UPLOAD = 20_000_000
"""Bytes of the largest file that is read: a photograph or a minute of sound, no film."""


def read_upload(modality: str, name: str, content: bytes, image_size: int = IMAGE_SIZE) -> np.ndarray:
    """Read an uploaded picture or recording as a task holds it.

    Parameters
    ----------
    modality
        ``"image"`` or ``"audio"``.
    name
        The file's name; only its ending is used.
    content
        The file's bytes.
    image_size
        Width and height in pixels that a picture gets, those of the task's.

    Returns
    -------
    numpy.ndarray
        A picture (image_size, image_size, 3) of uint8, or mono sound at 16 kHz, float32.

    Raises
    ------
    DataError
        If the file is empty, larger than `LARGEST_UPLOAD`, or no picture or recording.
    """
    from ftkit.experiments.rebuilding import read_items

    if not content:
        raise DataError(f"{name} is empty. Choose another file.")
    if len(content) > LARGEST_UPLOAD:
        size, most = len(content) / 1e6, LARGEST_UPLOAD / 1e6
        raise DataError(f"{name} has {size:.0f} MB; files up to {most:.0f} MB are read. Choose a smaller one.")
    with tempfile.TemporaryDirectory(prefix="ftkit-upload-") as folder:
        # A name of our own, with the ending alone: what comes from a browser is no path of ours.
        path = Path(folder) / f"upload{Path(name).suffix[:8]}"
        path.write_bytes(content)
        try:
            return read_items(modality, [path], image_size)[0]
        except DataError as error:
            raise DataError(str(error).replace(str(path), name)) from None


def as_png(picture: np.ndarray) -> bytes:
    """Return a picture (height, width, 3) of uint8 as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="PNG")
    return buffer.getvalue()
