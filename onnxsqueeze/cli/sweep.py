"""``onnxsqueeze sweep IN --passes GRID``: many pipelines, and which of them are worth having."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from onnxsqueeze.cli.command import Command, add_page, add_seed, bars, from_, parser, show

EXAMPLES = """\
examples:
  onnxsqueeze sweep in.onnx --passes 'prune{sparsity=0.3..0.9}|share{bits=3..8}|huffman'
  onnxsqueeze sweep in.onnx --passes 'share{error=0.05..0.3:0.05}|huffman' --inputs samples.npz --html sweep.html
  onnxsqueeze sweep in.onnx --passes 'prune{granularity=[2:4 row]}|share{bits=[4 6]}' --out-dir front

grids:
  a pipeline with several values for an option; '|' and ',' both stand between passes, and every combination is tried
  option=low..high         in steps of the last decimal written: 3..5 is 3, 4, 5; 0.3..0.5 is 0.3, 0.4, 0.5
  option=low..high:step    in steps of that size
  option=[value value]     a list
  several --passes         several grids

With --out-dir, the models of the front are kept, and a sweep that was broken off goes on where it was.
"""


def command(arguments: Sequence[str]) -> Command:
    """Parses the command's arguments."""
    made = parser("sweep", "Try a grid of pipelines on a model and plot size against fidelity.", EXAMPLES)
    made.add_argument("input", metavar="IN", help="ONNX file, or zoo:NAME")
    made.add_argument("--passes", metavar="GRID", action="append", required=True, help="see below; may be repeated")
    made.add_argument("--inputs", metavar="FILE.npz", help="inputs to compare outputs on; made up otherwise")
    add_seed(made)
    made.add_argument("--jobs", type=from_(1), metavar="N", help="pipelines at a time (default: one a core)")
    made.add_argument("--out-dir", metavar="DIR", help="keep the models of the front there, and a record to go on from")
    add_page(made)
    options = made.parse_args(arguments)
    return Command(options, lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    from onnxsqueeze.report import frontier, make
    from onnxsqueeze.sweep import sweep

    make.Wishes(options.html).check(options.input)
    with bars(options) as progress:
        found = sweep(
            options.input,
            options.passes,
            inputs=options.inputs,
            seed=options.seed,
            jobs=options.jobs,
            folder=options.out_dir,
            progress=progress,
        )
        if options.html:
            make.report_sweep(found, options.html)
    show(options, lambda: frontier.facts(found), lambda console: frontier.show(found, console))
