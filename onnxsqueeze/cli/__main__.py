"""``python -m onnxsqueeze.cli``."""

import sys

from onnxsqueeze.cli import main

sys.exit(main())
