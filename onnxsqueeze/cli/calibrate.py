"""``onnxsqueeze calibrate OUT.toml``: measures this machine and writes its profile."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from onnxsqueeze.cli.command import Command, bars, from_, parser, show

EXAMPLES = """\
examples:
  onnxsqueeze calibrate here.toml
  onnxsqueeze report model.onnx small.onnx --device here.toml
  onnxsqueeze calibrate four.toml --threads 4

Takes under 20 seconds where the machine is not busy. Small models of each kind of operator run in onnxruntime, and
the constants that explain their times best are written down with their source. Nothing
uses the profile that is not told to with --device.
"""


def command(arguments: Sequence[str]) -> Command:
    """Parses the command's arguments."""
    made = parser("calibrate", "Measure this machine: bandwidths, dense and sparse kernels, decoders.", EXAMPLES)
    made.add_argument("output", metavar="OUT.toml", help="the profile, for --device")
    made.add_argument("--threads", type=from_(1), default=1, metavar="N", help="of onnxruntime (default 1)")
    options = made.parse_args(arguments)
    return Command(options, lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    from pathlib import Path

    from onnxsqueeze.report.write import check_text, write_text

    check_text(Path(options.output), (".toml",))
    from onnxsqueeze.cost.calibrate import calibrate, written
    from onnxsqueeze.report import machine

    with bars(options) as progress:

        def told(what: str, number: int, total: int) -> None:
            if number == 1:
                progress.start("measure", total)
            progress.advance(what)

        found = calibrate(options.threads, told)
    write_text(Path(options.output), "\n".join(written(found)) + "\n")
    show(options, lambda: machine.facts(found), lambda console: machine.show(found, options.output, console))
