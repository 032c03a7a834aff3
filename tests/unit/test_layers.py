"""Imports point one way: a module uses what lies above it in the order of the layers, never what lies below."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ftkit

PACKAGE = Path(ftkit.__file__).parent
LAYERS = (
    ("child_process", "control_groups", "errors", "memory", "paths", "processor", "progress", "randomness"),
    ("catalog",),
    ("fetch",),
    ("evaluation",),
    ("backbones",),
    ("tasks",),
    ("classifier",),
    ("methods",),
    ("training",),
    ("experiments",),
    ("figures",),
    ("widgets", "report"),
    ("cli", "doctor", "__main__"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# A run and a comparison draw themselves; the figures, which read them, are imported when they are asked to.
ALLOWED = {("experiments.run", "Run.plot", "figures"), ("experiments.comparison", "Comparison.plot", "figures")}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.Import | ast.ImportFrom]]:
    """Yield every import with the function or class that it stands in."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield inside, node
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from imports(node, f"{inside}.{node.name}".lstrip("."))
        else:
            yield from imports(node, inside)


def parts_imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Yield the parts of ftkit that an import names."""
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("ftkit."))
    elif node.module == "ftkit":
        for alias in node.names:
            if alias.name != "__version__":
                yield ftkit._HOME_OF.get(alias.name, f"ftkit.{alias.name}").split(".")[1]
    elif (node.module or "").startswith("ftkit."):
        yield str(node.module).split(".")[1]


def test_every_module_has_its_place():
    assert len(MODULES) > 40
    assert {name_of(path).partition(".")[0] for path in MODULES} - set(LEVEL) == set()


def test_no_import_is_relative():
    relative = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in MODULES
        for _, node in imports(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_upwards(path: Path):
    module = name_of(path)
    own = module.partition(".")[0]
    downwards = {
        (module, inside, part)
        for inside, node in imports(ast.parse(path.read_text(encoding="utf-8")))
        for part in parts_imported(node)
        if part != own and LEVEL[part] > LEVEL[own]
    }
    assert downwards - ALLOWED == set()


def test_evaluation_knows_nothing_of_ours_but_the_errors():
    used = {
        part
        for path in MODULES
        if name_of(path).startswith("evaluation")
        for _, node in imports(ast.parse(path.read_text(encoding="utf-8")))
        for part in parts_imported(node)
    }
    assert used == {"evaluation", "errors"}


def test_every_exception_is_in_use():
    found = {
        (name_of(path), inside, part)
        for path in MODULES
        for inside, node in imports(ast.parse(path.read_text(encoding="utf-8")))
        for part in parts_imported(node)
    }
    assert found >= ALLOWED


def test_importing_the_package_loads_no_heavy_library():
    heavy = ("torch", "transformers", "peft", "timm", "matplotlib", "pandas", "sklearn", "scipy", "numpy", "ipywidgets")
    code = f"import ftkit, sys; dir(ftkit); print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "[]"


def test_records_and_claims_are_read_without_torch():
    code = "import ftkit.experiments.claims, ftkit.experiments.record, sys; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "False"


def test_every_offered_name_can_be_had():
    assert [name for name in ftkit.__all__ if getattr(ftkit, name, None) is None] == []
    assert set(ftkit.__all__) <= set(dir(ftkit))


def test_a_name_that_is_not_offered_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'finetune'"):
        _ = ftkit.finetune
