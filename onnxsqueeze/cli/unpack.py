"""``onnxsqueeze unpack FILE OUT``: back to plain dense ONNX."""

from __future__ import annotations

from collections.abc import Sequence

from onnxsqueeze.cli.command import Command, parser, show


def command(arguments: Sequence[str]) -> Command:
    """Parses the command's arguments."""
    made = parser(
        "unpack",
        "Turn a compressed model back into plain dense ONNX, bit for bit the same weights.",
        "examples:\n"
        "  onnxsqueeze unpack small.onnx dense.onnx\n"
        "  onnxsqueeze unpack small.onnx operators.onnx --custom-ops   for onnxruntime before 1.23.1, in C or C++",
    )
    made.add_argument("file", metavar="FILE", help="compressed ONNX file")
    made.add_argument("output", metavar="OUT", help="file to write")
    made.add_argument(
        "--custom-ops",
        action="store_true",
        help="weights that native kernels run faster become custom operators, for sessions that register the library",
    )
    options = made.parse_args(arguments)

    def run() -> None:
        from onnxsqueeze.pipeline.unpack import unpack_file

        unpacked = unpack_file(options.file, options.output, "auto" if options.custom_ops else "never")
        show(
            options,
            lambda: unpacked.facts(),
            lambda console: console.print(unpacked.sentence(), soft_wrap=True),
        )

    return Command(options, run)
