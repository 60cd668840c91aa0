"""Checks what a wheel holds: ``python check_wheel.py WHEEL``."""

import sys
import zipfile
from pathlib import Path, PurePosixPath

SOURCES = {".cc", ".h", ".cpp", ".map", ".cmake", ".o", ".pyc"}
NEEDED = {
    "onnxsqueeze/FORMAT.md",
    "onnxsqueeze/cli/__init__.py",
    "onnxsqueeze/passes/__init__.py",
    "onnxsqueeze/py.typed",
    "onnxsqueeze/report/html/base.html",
    "onnxsqueeze/report/html/comparison.html",
    "onnxsqueeze/report/html/page.css",
    "onnxsqueeze/report/html/page.js",
    "onnxsqueeze/report/html/plot.html",
    "onnxsqueeze/runtime/session.py",
    "onnxsqueeze/zoo/models/lenet-300-100.onnx",
    "onnxsqueeze/zoo/models/lenet-5.onnx",
}


def problems(wheel: Path) -> list[str]:
    """One sentence for each thing that is wrong."""
    with zipfile.ZipFile(wheel) as archive:
        names = {PurePosixPath(name) for name in archive.namelist() if not name.endswith("/")}
    found = [f"lacks {name}" for name in sorted(NEEDED - {str(name) for name in names})]
    for name in sorted(names):
        top = name.parts[0]
        if top != "onnxsqueeze" and not (top.startswith("onnxsqueeze-") and top.endswith(".dist-info")):
            found.append(f"holds {name}, which is outside of onnxsqueeze/")
        if name.suffix in SOURCES or name.name in ("CMakeLists.txt", ".clang-format"):
            found.append(f"holds {name}, which only the build needs")
    libraries = [str(name) for name in names if name.suffix in (".so", ".dylib")]
    if len(libraries) != 1 or not libraries[0].startswith("onnxsqueeze/runtime/"):
        found.append(f"must hold one native library, in onnxsqueeze/runtime/; found {libraries}")
    if "-py3-none-" not in wheel.name:
        found.append("must serve every Python 3")
    return found


if __name__ == "__main__":
    path = Path(sys.argv[1])
    wrong = problems(path)
    sys.stdout.write("".join(f"{path.name} {problem}\n" for problem in wrong) or f"{path.name}: fine\n")
    sys.exit(1 if wrong else 0)
