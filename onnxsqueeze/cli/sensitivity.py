"""``onnxsqueeze sensitivity IN``: which weights can bear what."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from onnxsqueeze.cli.command import Command, add_page, add_score, add_seed, bars, from_, parser, show

EXAMPLES = """\
examples:
  onnxsqueeze sensitivity in.onnx --calibration samples/ --html sensitivity.html
  onnxsqueeze sensitivity in.onnx --calibration samples.npz --score mytask:accuracy
  onnxsqueeze sensitivity zoo:lenet-5                             made-up inputs, and that is said
  onnxsqueeze sensitivity in.onnx --json > sensitivity.json

Each weight is changed alone, to 0, 10 … 90 % zeros and to 8 … 2 bits, and the whole model's loss is measured: the share
of decisions that change where outputs are scores over classes, else the share of variance that is unexplained. With
samples, three quarters of them tell what flows into the weights, so that what is left makes up for what goes.
"""


def command(arguments: Sequence[str]) -> Command:
    """Parses the command's arguments."""
    made = parser("sensitivity", "Measure what each weight alone costs at every sparsity and bit width.", EXAMPLES)
    made.add_argument("input", metavar="IN", help="ONNX file, or zoo:NAME")
    made.add_argument(
        "--calibration", metavar="SAMPLES", help="inputs: .npz, a folder, or module:function; made up otherwise"
    )
    add_score(made)
    made.add_argument(
        "--samples", type=from_(1), metavar="N", help="samples to measure on (default: 2 to 16, by the work of a run)"
    )
    add_seed(made)
    made.add_argument("--jobs", type=from_(1), metavar="N", help="weights at a time (default: one a core)")
    made.add_argument("--work-dir", metavar="DIR", help="keep results there: a run that was broken off goes on")
    add_page(made)
    options = made.parse_args(arguments)
    return Command(options, lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    from onnxsqueeze.report import make
    from onnxsqueeze.report import sensitivity as report
    from onnxsqueeze.sensitivity import sensitivity

    make.Wishes(options.html).check(options.input)
    with bars(options) as progress:
        found = sensitivity(
            options.input,
            calibration=options.calibration,
            score=options.score,
            samples=options.samples,
            seed=options.seed,
            jobs=options.jobs,
            work_dir=options.work_dir,
            progress=progress,
        )
        if options.html:
            make.report_sensitivity(found, options.html)
    show(options, lambda: report.facts(found), lambda console: report.show(found, console))
