"""``onnxsqueeze report ORIGINAL COMPRESSED``: what compression saved, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence

from onnxsqueeze.cli.command import Command, add_page, bars, from_, parser, show

EXAMPLES = """\
examples:
  onnxsqueeze report model.onnx small.onnx
  onnxsqueeze report model.onnx small.onnx --html report.html --inputs samples.npz
  onnxsqueeze report model.onnx small.onnx --device mobile-soc
  onnxsqueeze report model.onnx small.onnx --markdown report.md      for a pull request

With the passes' own savings and notes: onnxsqueeze model.onnx small.onnx --report report.html
"""


def command(arguments: Sequence[str]) -> Command:
    """Parses the command's arguments."""
    made = parser("report", "Compare a model with its compressed version: sizes, weights, outputs.", EXAMPLES)
    made.add_argument("original", metavar="ORIGINAL", help="ONNX file, or zoo:NAME")
    made.add_argument("compressed", metavar="COMPRESSED", help="ONNX file")
    made.add_argument("--device", metavar="NAME", help="device that energy and time are for, or its .toml file")
    add_page(made)
    made.add_argument("--markdown", metavar="FILE.md", help="write Markdown")
    made.add_argument("--inputs", metavar="FILE.npz", help="one array an input; made from the signature otherwise")
    made.add_argument("--seed", type=from_(0), default=0, metavar="N", help="seed of inputs that are made (default 0)")
    made.add_argument("--no-run", action="store_true", help="do not run the models to compare their outputs")
    options = made.parse_args(arguments)

    def run() -> None:
        from onnxsqueeze.report import comparison
        from onnxsqueeze.report.make import Wishes, report

        wishes = Wishes(options.html, options.markdown, *([options.device] if options.device else []))
        with bars(options) as progress:
            found = report(
                options.original,
                options.compressed,
                wishes,
                inputs=options.inputs,
                seed=options.seed,
                run=not options.no_run,
                progress=progress,
            )
        from onnxsqueeze.report import terminal

        show(options, lambda: comparison.facts(found), lambda console: terminal.show(found, console))

    return Command(options, run)
