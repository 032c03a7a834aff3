"""Where a running JupyterLab is found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: its address, its access token and the folder it serves."""

    address: str
    token: str
    folder: Path

    def notebook(self, name: str) -> str:
        """Address of a notebook in a fresh workspace."""
        return f"{self.address}/lab/tree/{name}?token={self.token}&reset"
