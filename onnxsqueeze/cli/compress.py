"""``onnxsqueeze IN OUT``: the main job."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from onnxsqueeze.cli.command import Command, add_score, add_seed, bars, from_, parser, show

Value = TypeVar("Value")

HELP = """\
examples:
  onnxsqueeze in.onnx out.onnx                                    the safe pipeline
  onnxsqueeze in.onnx out.onnx --passes prune,share,huffman
  onnxsqueeze in.onnx out.onnx --passes 'prune{sparsity=0.7},share{bits=5},huffman'
  onnxsqueeze zoo:ppocr-rec small.onnx --inputs lines.npz         a real model, checked on real inputs
  onnxsqueeze in.onnx out.onnx --calibration samples/ --max-loss 1%    the smallest that loses no more
  onnxsqueeze in.onnx out.onnx --calibration samples.npz --target-size 3MB
  onnxsqueeze in.onnx out.onnx --calibration samples/ --target-latency 5ms --device mobile-soc
  onnxsqueeze in.onnx out.onnx --calibration samples/ --max-loss 1% --work-dir work     goes on after a break

what --max-loss bounds, for the worst output:
  scores over classes   the share of decisions (argmax) that change: outputs of Softmax, and of products with constant
                        weights, unless another output is a distribution (Softmax, Sigmoid) of something else
  all other outputs     the share of the variance that is unexplained
  with --score          the share of the original's score that is lost

other commands (each has --help):
"""
CODES = "\nexit codes: 0 done, 1 refused or failed, 2 wrong usage or pipeline text, 130 interrupted\n"


def command(arguments: Sequence[str], others: str) -> Command:
    """Parses the main job's arguments; ``others`` lists the other commands."""
    made = parser("", "Compress an ONNX model into one small file that stock onnxruntime opens.", HELP + others + CODES)
    from onnxsqueeze import __version__

    made.add_argument("--version", action="version", version=f"onnxsqueeze {__version__}")
    made.add_argument("input", metavar="IN", help="ONNX file, or zoo:NAME")
    made.add_argument("output", metavar="OUT", help="file to write; never touched unless all went well")
    made.add_argument("--passes", metavar="TEXT", help="pipeline, e.g. prune,share{bits=5},huffman")
    made.add_argument("--inputs", metavar="FILE.npz", help="inputs to verify on: one array an input")
    made.add_argument(
        "--calibration",
        metavar="SAMPLES",
        help="inputs that passes look at: .npz, a folder, or module:function; a quarter is held out to verify on",
    )
    _add_budget(made)
    add_seed(made)
    made.add_argument("--jobs", type=from_(1), metavar="N", help="worker threads (default: one a core)")
    made.add_argument(
        "--inline", action="store_true", help="no local functions in the output, for engines that reject them"
    )
    made.add_argument("--report", metavar="FILE.html", help="write a page on what was done, layer by layer")
    made.add_argument(
        "--work-dir", metavar="DIR", help="keep what is measured there: a run that was broken off goes on"
    )
    made.add_argument(
        "--ota-base",
        metavar="OLD",
        help="the installed compressed model: keep its codebooks, for small updates",
    )
    options = made.parse_args(arguments)
    return Command(options, lambda: _run(options, shlex.join(["onnxsqueeze", *arguments])))


def _add_budget(made: argparse.ArgumentParser) -> None:
    from onnxsqueeze import budget

    asked = made.add_mutually_exclusive_group()
    asked.add_argument(
        "--max-loss", type=_read(budget.share), metavar="P%", help="smallest file that loses at most this, e.g. 1%%"
    )
    asked.add_argument(
        "--target-size", type=_read(budget.nbytes), metavar="SIZE", help="closest file of at most this size, e.g. 3MB"
    )
    asked.add_argument(
        "--target-ratio", type=float, metavar="R", help="closest file that is at least so many times smaller"
    )
    asked.add_argument(
        "--target-latency", type=_read(budget.seconds), metavar="T", help="at most so long a run on --device, e.g. 5ms"
    )
    asked.add_argument(
        "--target-energy", type=_read(budget.joules), metavar="E", help="at most so much a run on --device, e.g. 2mJ"
    )
    asked.add_argument(
        "--target-macs", type=_read(budget.macs), metavar="N", help="at most so many MACs a run, e.g. 50%% or 100M"
    )
    made.add_argument("--device", metavar="NAME|FILE", default="", help="whose costs the targets are about")
    add_score(made)


def _read(convert: Callable[[str], Value]) -> Callable[[str], Value]:
    """An argparse type of a function that raises ValueError with a sentence."""

    def checked(text: str) -> Value:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


def _budget(options: argparse.Namespace) -> Any:
    from onnxsqueeze.budget import TARGETS, Budget
    from onnxsqueeze.errors import PipelineError

    asked = {name: getattr(options, name) for name in TARGETS}
    if any(value is not None for value in asked.values()):
        return Budget(**asked, score=options.score, device=options.device)
    if options.score:
        raise PipelineError("--score measures what --max-loss bounds; give that too")
    if options.device and not options.report:
        raise PipelineError("--device is what --target-latency, --target-energy, --target-macs and --report are about")
    return None


def _run(options: argparse.Namespace, line: str) -> None:
    from onnxsqueeze.compress import compress
    from onnxsqueeze.cost.device import DEFAULT
    from onnxsqueeze.report.make import Wishes, report_result

    wishes = Wishes(options.report, device=options.device or DEFAULT)
    wishes.check(options.input, options.output)
    with bars(options) as progress:
        result = compress(
            options.input,
            options.output,
            options.passes,
            inputs=options.inputs,
            calibration=options.calibration,
            budget=_budget(options),
            seed=options.seed,
            jobs=options.jobs,
            inline=options.inline,
            ota_base=options.ota_base,
            work_dir=options.work_dir,
            progress=progress,
        )
        if options.report:
            report_result(result, wishes, line, progress)
    from onnxsqueeze.report import tables
    from onnxsqueeze.report.facts import facts

    show(options, lambda: facts(result), lambda console: tables.show(result, console))
