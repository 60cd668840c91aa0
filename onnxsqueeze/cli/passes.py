"""``onnxsqueeze passes``: every pass with its options."""

from __future__ import annotations

from collections.abc import Sequence

from onnxsqueeze.cli.command import Command, parser, show


def command(arguments: Sequence[str]) -> Command:
    """Parses the command's arguments."""
    made = parser(
        "passes",
        "List every pass with its options, defaults and source.",
        "examples:\n  onnxsqueeze passes\n  onnxsqueeze passes --json",
    )
    options = made.parse_args(arguments)

    def run() -> None:
        from onnxsqueeze.report import listing

        show(options, listing.pass_facts, listing.show_passes)

    return Command(options, run)
