"""The passes, one rewrite a file; this table is the only list of them."""

from typing import Any

from onnxsqueeze.passes.adapt import Adapt
from onnxsqueeze.passes.allocate import Allocate
from onnxsqueeze.passes.channels import Channels
from onnxsqueeze.passes.depthwise import Depthwise
from onnxsqueeze.passes.equalize import Equalize
from onnxsqueeze.passes.fatrelu import Fatrelu
from onnxsqueeze.passes.fold import Fold
from onnxsqueeze.passes.huffman import Huffman
from onnxsqueeze.passes.lowrank import Lowrank
from onnxsqueeze.passes.merge import Merge
from onnxsqueeze.passes.prune import Prune
from onnxsqueeze.passes.share import Share

PASSES: dict[str, type[Any]] = {
    "fold": Fold,
    "merge": Merge,
    "channels": Channels,
    "lowrank": Lowrank,
    "depthwise": Depthwise,
    "equalize": Equalize,
    "fatrelu": Fatrelu,
    "prune": Prune,
    "share": Share,
    "allocate": Allocate,
    "adapt": Adapt,
    "huffman": Huffman,
}

DEFAULT = "fold,share,huffman"
