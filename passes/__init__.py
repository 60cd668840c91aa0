"""The passes, one rewrite a file; this table is the only list of them."""

from typing import Any

from onnxsqueeze.passes.fold import Fold
from onnxsqueeze.passes.huffman import Huffman
from onnxsqueeze.passes.prune import Prune
from onnxsqueeze.passes.share import Share

PASSES: dict[str, type[Any]] = {"fold": Fold, "prune": Prune, "share": Share, "huffman": Huffman}

DEFAULT = "fold,share,huffman"
