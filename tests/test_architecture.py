"""The shape of the code: who may import whom, how long things may be, what an import costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxsqueeze.encode import names

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "onnxsqueeze",
    "passes",
    "runtime",
    "zoo",
)  # folders that install; all but the first inside the first

# Each layer imports only from itself and from those before it.
LAYERS = (
    "errors",
    "runtime",
    "encode",
    "model",
    "cost",
    "groups",
    "pipeline",
    "calibration",
    "passes",
    "verify",
    "budget",
    "draft",
    "compress",
    "bench",
    "sweep",
    "sensitivity",
    "ota",
    "report",
    "zoo",
    "cli",
)

# What a module may import from later layers, inside functions only.
LATER = {
    "runtime/session.py": {"model", "pipeline"},  # opens whole models
    "runtime/bench.py": {"encode"},  # makes what it measures
    "onnxsqueeze/compress.py": {"zoo"},  # zoo:NAME as input
    "onnxsqueeze/report/listing.py": {"zoo"},  # lists it
}

LONGEST_FILE, LONGEST_FUNCTION = 350, 60
HEAVY = ("numpy", "onnx", "onnxruntime", "onnx_graphsurgeon", "sklearn", "networkx", "rich", "jinja2")

MODULES = sorted(path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
PYTHON = [*MODULES, *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py"))]
NATIVE = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("runtime", "tests/runtime")
    for path in (ROOT / folder).iterdir()
    if path.suffix in (".cc", ".h")
)


def tree_of(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"))


def layer_of(module: str) -> str:
    """The layer of a file: its folder, or its own name where it lies in onnxsqueeze/ itself."""
    parts = module.removesuffix(".py").split("/")
    if parts[0] != "onnxsqueeze":
        return parts[0]
    return "compress" if parts[1] == "__init__" else parts[1]  # the package re-exports compress


def imported_layers(node: ast.AST) -> Iterator[str]:
    """The layers that an import statement takes something from; the version is no layer."""
    if isinstance(node, ast.Import):
        targets = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        targets = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        return
    for target in targets:
        top, _, rest = target.partition(".")
        if top == "onnxsqueeze" and rest != "__version__":
            yield rest.partition(".")[0]


def imports(module: str) -> Iterator[tuple[int, str, bool]]:
    """Line, layer, and whether the import is made late: inside a function, or for type checkers only."""

    def walk(node: ast.AST, late: bool) -> Iterator[tuple[int, str, bool]]:
        for child in ast.iter_child_nodes(node):
            inside = late or isinstance(child, ast.FunctionDef) or is_type_checking(child)
            for layer in imported_layers(child):
                yield child.lineno, layer, inside  # type: ignore[attr-defined]
            yield from walk(child, inside)

    return walk(tree_of(module), False)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


@pytest.mark.parametrize("module", MODULES)
def test_layers_import_only_earlier_ones(module: str) -> None:
    own = layer_of(module)
    assert own in LAYERS, f"{module} belongs to no layer"
    for line, layer, late in imports(module):
        assert layer in LAYERS, f"{module}:{line} imports {layer}, which is no layer"
        allowed = late and layer in LATER.get(module, set())
        assert allowed or LAYERS.index(layer) <= LAYERS.index(own), f"{module}:{line}: {own} imports {layer}"


def test_imports_are_absolute_and_by_the_installed_name() -> None:
    wrong = []
    for module in MODULES:
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.ImportFrom):
                tops = {"." if node.level else (node.module or "").partition(".")[0]}
            elif isinstance(node, ast.Import):
                tops = {alias.name.partition(".")[0] for alias in node.names}
            else:
                continue
            wrong += [f"{module}:{node.lineno}" for top in tops if top in (".", "passes", "runtime", "zoo")]
    assert wrong == []


def test_exceptions_to_the_layers_are_in_use() -> None:
    for module, layers in LATER.items():
        assert layers <= {layer for _, layer, _ in imports(module)}, module


def test_files_are_short() -> None:
    lengths = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in (*PYTHON, *NATIVE)}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_functions_are_short() -> None:
    lengths = {
        f"{module}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for module in PYTHON
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import onnxsqueeze",
        "import onnxsqueeze.runtime",
        "from onnxsqueeze.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
    ],
    ids=["onnxsqueeze", "runtime", "help"],
)
def test_imports_are_cheap(code: str, tmp_path: Path) -> None:
    code += f"\nimport sys\nprint('heavy:', sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_format_document_names_every_part_of_an_operator_name() -> None:
    patterns = " ".join(pattern.pattern for pattern in names._PATTERNS)
    layouts = set(re.findall(r"\(\?P<layout>(\w+)\)", patterns))
    flags = set(re.findall(r">(_[A-Z])\)", patterns))
    assert {"Fill", "Dense"} <= layouts and {"_S", "_C"} <= flags
    document = (ROOT / "onnxsqueeze/FORMAT.md").read_text(encoding="utf-8")
    raw = {f"Raw{bits}" for bits in re.findall(r"\d+", names._RAW)}
    missing = [part for part in layouts | flags | raw if f'"{part}' not in document]
    assert missing == []
    assert all(f"`{flag}`" in document for flag in flags), "each flag is explained"
