"""The command line; everything but the printing is in the modules that it calls."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from onnxsqueeze.errors import SqueezeError

MAIN_HELP = """\
examples:
  onnxsqueeze in.onnx out.onnx                                    the safe pipeline
  onnxsqueeze in.onnx out.onnx --passes prune,share,huffman
  onnxsqueeze in.onnx out.onnx --passes 'prune{sparsity=0.7},share{bits=5},huffman'
  onnxsqueeze zoo:ppocr-rec small.onnx --inputs lines.npz         a real model, checked on real inputs

other commands (each has --help):
  onnxsqueeze inspect FILE         the weights: where, what they feed, bytes, zeros, encoding
  onnxsqueeze verify A B           do two models give the same outputs?
  onnxsqueeze unpack FILE OUT      back to plain dense ONNX, for any engine
  onnxsqueeze passes               every pass with its options
  onnxsqueeze zoo                  the real models that can be fetched by name
"""


def _parser(name: str, summary: str, examples: str = "") -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"onnxsqueeze {name}".strip(),
        description=summary,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print facts as JSON, for machines")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _compress_parser() -> argparse.ArgumentParser:
    parser = _parser("", "Compress an ONNX model into one small file that stock onnxruntime opens.", MAIN_HELP)
    from onnxsqueeze import __version__

    parser.add_argument("--version", action="version", version=f"onnxsqueeze {__version__}")
    parser.add_argument("input", metavar="IN", help="ONNX file, or zoo:NAME")
    parser.add_argument("output", metavar="OUT", help="file to write; never touched unless all went well")
    parser.add_argument("--passes", metavar="TEXT", help="pipeline, e.g. prune,share{bits=5},huffman")
    parser.add_argument("--inputs", metavar="FILE.npz", help="inputs to verify on: one array an input")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all random draws (default 0)")
    parser.add_argument("--jobs", type=_positive, metavar="N", help="worker threads (default: one a core)")
    parser.add_argument(
        "--inline", action="store_true", help="no local functions in the output, for engines that reject them"
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _compress(arguments: Sequence[str]) -> _Command:
    options = _compress_parser().parse_args(arguments)
    return _Command(options, lambda: _run_compress(options))


def _run_compress(options: argparse.Namespace) -> None:
    from onnxsqueeze.compress import compress
    from onnxsqueeze.report.progress import Bars

    with Bars(visible=not (options.quiet or options.json)) as bars:
        result = compress(
            options.input,
            options.output,
            options.passes,
            inputs=options.inputs,
            seed=options.seed,
            jobs=options.jobs,
            inline=options.inline,
            progress=bars,
        )
    from onnxsqueeze.report.facts import facts

    _print(options, lambda: facts(result), lambda console: _tables().show(result, console))


def _tables() -> Any:
    from onnxsqueeze.report import tables

    return tables


def _print(options: argparse.Namespace, told: Callable[[], Any], draw: Callable[[Any], None]) -> None:
    """Prints facts as JSON or as tables, or nothing."""
    if options.json:
        print(json.dumps(told(), indent=2, default=str))
    elif not options.quiet:
        from rich.console import Console

        draw(Console(width=None if sys.stdout.isatty() else 120))


class _Command:
    """A parsed command, ready to run."""

    def __init__(self, options: argparse.Namespace, run: Callable[[], None]) -> None:
        self.options, self._run = options, run

    def __call__(self) -> None:
        self._run()


def _inspect(arguments: Sequence[str]) -> _Command:
    parser = _parser("inspect", "List the weights of a model.", "example: onnxsqueeze inspect model.onnx")
    parser.add_argument("file", metavar="FILE", help="ONNX file, packed or not, or zoo:NAME")
    options = parser.parse_args(arguments)

    def run() -> None:
        from onnxsqueeze.report import inspect

        listing = inspect.listing(options.file)
        _print(options, lambda: inspect.facts(listing), lambda console: inspect.show(listing, console))

    return _Command(options, run)


def _verify(arguments: Sequence[str]) -> _Command:
    parser = _parser(
        "verify",
        "Run two models on the same inputs in stock onnxruntime and compare their outputs.",
        "example: onnxsqueeze verify model.onnx small.onnx --inputs samples.npz",
    )
    parser.add_argument("a", metavar="A", help="ONNX file, or zoo:NAME")
    parser.add_argument("b", metavar="B", help="ONNX file, or zoo:NAME")
    parser.add_argument("--inputs", metavar="FILE.npz", help="one array an input; made from the signature otherwise")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of inputs that are made (default 0)")
    options = parser.parse_args(arguments)

    def run() -> None:
        import dataclasses

        from onnxsqueeze.compress import resolve
        from onnxsqueeze.verify import signature, verify

        feeds = signature.read(options.inputs) if options.inputs else None
        found = verify(resolve(options.a), resolve(options.b), feeds, options.inputs or "", options.seed)
        _print(
            options,
            lambda: dataclasses.asdict(found),
            lambda console: _tables().show_verification(found, console),
        )

    return _Command(options, run)


def _unpack(arguments: Sequence[str]) -> _Command:
    parser = _parser(
        "unpack",
        "Turn a compressed model back into plain dense ONNX, bit for bit the same weights.",
        "example: onnxsqueeze unpack small.onnx dense.onnx",
    )
    parser.add_argument("file", metavar="FILE", help="compressed ONNX file")
    parser.add_argument("output", metavar="OUT", help="file to write")
    options = parser.parse_args(arguments)

    def run() -> None:
        from onnxsqueeze.pipeline.unpack import unpack_file

        unpacked = unpack_file(options.file, options.output)
        _print(options, lambda: unpacked.facts(), lambda console: console.print(unpacked.sentence()))

    return _Command(options, run)


def _passes(arguments: Sequence[str]) -> _Command:
    parser = _parser("passes", "List every pass with its options, defaults and source.")
    options = parser.parse_args(arguments)

    def run() -> None:
        from onnxsqueeze.report import listing

        _print(options, listing.pass_facts, listing.show_passes)

    return _Command(options, run)


def _zoo(arguments: Sequence[str]) -> _Command:
    parser = _parser(
        "zoo",
        "List the real models that can be fetched by name, or fetch some.",
        "examples:\n  onnxsqueeze zoo\n  onnxsqueeze zoo ppocr-rec silero-vad",
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="models to fetch into the cache")
    options = parser.parse_args(arguments)

    def run() -> None:
        from onnxsqueeze.report import listing

        if options.names:
            fetched = listing.fetch(options.names)
            _print(options, lambda: fetched, lambda console: listing.show_fetched(fetched, console))
        else:
            _print(options, listing.zoo_facts, listing.show_zoo)

    return _Command(options, run)


COMMANDS: dict[str, Callable[[Sequence[str]], Any]] = {
    "inspect": _inspect,
    "verify": _verify,
    "unpack": _unpack,
    "passes": _passes,
    "zoo": _zoo,
}


def _terminate(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, 1 (error), 2 (usage), 130 (interrupted)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = COMMANDS.get(given[0]) if given else None
    parsed = command(given[1:]) if command else _compress(given)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        parsed()
    except SqueezeError as error:
        if parsed.options.debug:
            raise
        print(f"onnxsqueeze: {error}", file=sys.stderr)
        return 2 if type(error).__name__ == "PipelineError" else 1
    except KeyboardInterrupt:
        print("onnxsqueeze: interrupted; nothing was written", file=sys.stderr)
        return 130
    except MemoryError:
        print("onnxsqueeze: out of memory; nothing was written", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
