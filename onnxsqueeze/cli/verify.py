"""``onnxsqueeze verify A B``: do two models give the same outputs?"""

from __future__ import annotations

from collections.abc import Sequence

from onnxsqueeze.cli.command import Command, bars, from_, parser, show


def command(arguments: Sequence[str]) -> Command:
    """Parses the command's arguments."""
    made = parser(
        "verify",
        "Run two models on the same inputs in stock onnxruntime and compare their outputs.",
        "example:\n  onnxsqueeze verify model.onnx small.onnx --inputs samples.npz",
    )
    made.add_argument("a", metavar="A", help="ONNX file, or zoo:NAME")
    made.add_argument("b", metavar="B", help="ONNX file, or zoo:NAME")
    made.add_argument("--inputs", metavar="FILE.npz", help="one array an input; made from the signature otherwise")
    made.add_argument("--seed", type=from_(0), default=0, metavar="N", help="seed of inputs that are made (default 0)")
    options = made.parse_args(arguments)

    def run() -> None:
        import dataclasses

        from onnxsqueeze.compress import resolve
        from onnxsqueeze.report import tables
        from onnxsqueeze.verify import verify_files

        with bars(options) as progress:
            found = verify_files(resolve(options.a), resolve(options.b), options.inputs, options.seed, progress)
        show(options, lambda: dataclasses.asdict(found), lambda console: tables.show_verification(found, console))

    return Command(options, run)
