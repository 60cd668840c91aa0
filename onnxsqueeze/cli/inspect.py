"""``onnxsqueeze inspect FILE``: the weights of a model."""

from __future__ import annotations

from collections.abc import Sequence

from onnxsqueeze.cli.command import Command, parser, show


def command(arguments: Sequence[str]) -> Command:
    """Parses the command's arguments."""
    made = parser("inspect", "List the weights of a model.", "example:\n  onnxsqueeze inspect model.onnx")
    made.add_argument("file", metavar="FILE", help="ONNX file, packed or not, or zoo:NAME")
    options = made.parse_args(arguments)

    def run() -> None:
        from onnxsqueeze.report import inspect

        listing = inspect.listing(options.file)
        show(options, lambda: inspect.facts(listing), lambda console: inspect.show(listing, console))

    return Command(options, run)
