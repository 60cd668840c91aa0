"""Small graphs come from the folder beside this one."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "passes"))
