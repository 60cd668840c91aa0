"""``onnxsqueeze zoo``: the real models that can be fetched by name."""

from __future__ import annotations

from collections.abc import Sequence

from onnxsqueeze.cli.command import Command, parser, show


def command(arguments: Sequence[str]) -> Command:
    """Parses the command's arguments."""
    made = parser(
        "zoo",
        "List the real models that can be fetched by name, or fetch some.",
        "examples:\n  onnxsqueeze zoo\n  onnxsqueeze zoo ppocr-rec silero-vad",
    )
    made.add_argument("names", metavar="NAME", nargs="*", help="models to fetch into the cache")
    options = made.parse_args(arguments)

    def run() -> None:
        from onnxsqueeze.report import listing

        if options.names:
            fetched = listing.fetch(options.names)
            show(options, lambda: fetched, lambda console: listing.show_fetched(fetched, console))
        else:
            show(options, listing.zoo_facts, listing.show_zoo)

    return Command(options, run)
