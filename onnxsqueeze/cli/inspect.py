"""``onnxsqueeze inspect FILE``: the weights of a model, or its dependency groups."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from onnxsqueeze.cli.command import Command, parser, show

EXAMPLES = """\
examples:
  onnxsqueeze inspect model.onnx
  onnxsqueeze inspect model.onnx --groups                     which channels can only be removed together
  onnxsqueeze inspect model.onnx --groups --svg groups.svg
"""


def command(arguments: Sequence[str]) -> Command:
    """Parses the command's arguments."""
    made = parser("inspect", "List the weights of a model, or what can be removed from it.", EXAMPLES)
    made.add_argument("file", metavar="FILE", help="ONNX file, packed or not, or zoo:NAME")
    made.add_argument("--groups", action="store_true", help="list dependency groups of channels instead of weights")
    made.add_argument("--svg", metavar="OUT.svg", help="with --groups: draw them on the graph")
    options = made.parse_args(arguments)
    if options.svg and not options.groups:
        made.error("--svg goes with --groups")
    return Command(options, lambda: _groups(options) if options.groups else _weights(options))


def _weights(options: Namespace) -> None:
    from onnxsqueeze.report import inspect

    listing = inspect.listing(options.file)
    show(options, lambda: inspect.facts(listing), lambda console: inspect.show(listing, console))


def _groups(options: Namespace) -> None:
    from onnxsqueeze.report import dependencies

    listing = dependencies.listing(options.file)
    if options.svg:
        dependencies.draw(listing, options.svg)
    show(options, lambda: dependencies.facts(listing), lambda console: dependencies.show(listing, console))
