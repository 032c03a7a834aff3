"""Late imports are what is turned off."""

from __future__ import annotations

import subprocess
import sys

import pytest
from start import source

IS_LOADED = "\nimport sys; print('torch' in sys.modules)"


@pytest.mark.parametrize("at_once", [False, True])
def test_a_heavy_library_is_loaded_with_the_package_only_where_imports_are_not_late(at_once: bool):
    command = [sys.executable, "-c", source("import", at_once) + IS_LOADED]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    assert told.stdout.split() == [str(at_once)]
