"""``onnxsqueeze bench FILE``: latency and memory, stock, with the execution provider, and dense."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from onnxsqueeze.cli.command import Command, bars, from_, parser, show

EXAMPLES = """\
examples:
  onnxsqueeze bench out.onnx                                  against itself, unpacked
  onnxsqueeze bench out.onnx --against in.onnx --threads 1
  onnxsqueeze bench out.onnx --kernel always --inputs samples.npz --json
  onnxsqueeze bench out.onnx --calibrate                      measures the kernels first

The sessions run by turns in one process; memory and the time to open are those of fresh processes.
"""


def command(arguments: Sequence[str]) -> Command:
    """Parses the command's arguments."""
    made = parser("bench", "Measure a compressed model: stock, with the execution provider, and dense.", EXAMPLES)
    made.add_argument("file", metavar="FILE", help="compressed ONNX file")
    made.add_argument("--against", metavar="DENSE", help="the original (default: FILE, unpacked)")
    made.add_argument("--inputs", metavar="FILE.npz", help="inputs to run on; made up otherwise")
    made.add_argument("--threads", type=from_(1), default=0, metavar="N", help="of onnxruntime (default: its choice)")
    made.add_argument("--seconds", type=from_(1), default=5, metavar="N", help="to spend on latency (default 5)")
    made.add_argument("--seed", type=from_(0), default=0, metavar="N", help="seed of made inputs (default 0)")
    made.add_argument(
        "--kernel",
        choices=("auto", "always", "never"),
        default="auto",
        help="run packed weights in the provider where that is faster, wherever there is a kernel, or nowhere",
    )
    made.add_argument(
        "--calibrate",
        action="store_true",
        help="first find out, in some seconds, what the provider's kernels are good for here; sessions go by it then",
    )
    options = made.parse_args(arguments)
    return Command(options, lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    from onnxsqueeze.bench import bench, calibrate
    from onnxsqueeze.report import speed

    with bars(options) as progress:
        if options.calibrate:
            calibrate(progress)
        found = bench(
            options.file,
            options.against,
            inputs=options.inputs,
            threads=options.threads,
            seconds=options.seconds,
            kernel=options.kernel,
            seed=options.seed,
            progress=progress,
        )
    show(options, lambda: speed.facts(found), lambda console: speed.show(found, console))
