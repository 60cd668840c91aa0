"""Weights under every operator name, and golden files, come from the folders beside this one."""

import sys
from pathlib import Path

for folder in ("encode", "golden", "runtime"):
    sys.path.append(str(Path(__file__).parents[1] / folder))
