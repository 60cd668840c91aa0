"""The command line; everything but the printing is in the modules that it calls."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from onnxsqueeze.errors import PipelineError, SqueezeError

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

exit codes: 0 done, 1 refused or failed, 2 wrong usage or pipeline text, 130 interrupted
"""
FLAGS = ("--json", "--quiet", "--debug")


class _Parser(argparse.ArgumentParser):
    """Tells of wrong usage in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"onnxsqueeze: {message}; see {self.prog} --help\n")


def _parser(name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"onnxsqueeze {name}".strip(),
        description=summary,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
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
    parser.add_argument("--seed", type=_from(0), default=0, metavar="N", help="seed of all random draws (default 0)")
    parser.add_argument("--jobs", type=_from(1), metavar="N", help="worker threads (default: one a core)")
    parser.add_argument(
        "--inline", action="store_true", help="no local functions in the output, for engines that reject them"
    )
    return parser


def _from(least: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, not '{text}'")
        return value

    return convert


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
        from onnxsqueeze.report.facts import plain

        print(json.dumps(plain(told()), indent=2, allow_nan=False))
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
    parser = _parser("inspect", "List the weights of a model.", "example:\n  onnxsqueeze inspect model.onnx")
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
        "example:\n  onnxsqueeze verify model.onnx small.onnx --inputs samples.npz",
    )
    parser.add_argument("a", metavar="A", help="ONNX file, or zoo:NAME")
    parser.add_argument("b", metavar="B", help="ONNX file, or zoo:NAME")
    parser.add_argument("--inputs", metavar="FILE.npz", help="one array an input; made from the signature otherwise")
    parser.add_argument(
        "--seed", type=_from(0), default=0, metavar="N", help="seed of inputs that are made (default 0)"
    )
    options = parser.parse_args(arguments)

    def run() -> None:
        import dataclasses

        from onnxsqueeze.compress import resolve
        from onnxsqueeze.report.progress import Bars
        from onnxsqueeze.verify import verify_files

        with Bars(visible=not (options.quiet or options.json)) as bars:
            found = verify_files(resolve(options.a), resolve(options.b), options.inputs, options.seed, bars)
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
        "example:\n  onnxsqueeze unpack small.onnx dense.onnx",
    )
    parser.add_argument("file", metavar="FILE", help="compressed ONNX file")
    parser.add_argument("output", metavar="OUT", help="file to write")
    options = parser.parse_args(arguments)

    def run() -> None:
        from onnxsqueeze.pipeline.unpack import unpack_file

        unpacked = unpack_file(options.file, options.output)
        _print(
            options,
            lambda: unpacked.facts(),
            lambda console: console.print(unpacked.sentence(), markup=False, highlight=False, soft_wrap=True),
        )

    return _Command(options, run)


def _passes(arguments: Sequence[str]) -> _Command:
    parser = _parser(
        "passes",
        "List every pass with its options, defaults and source.",
        "examples:\n  onnxsqueeze passes\n  onnxsqueeze passes --json",
    )
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


COMMANDS: dict[str, Callable[[Sequence[str]], _Command]] = {
    "inspect": _inspect,
    "verify": _verify,
    "unpack": _unpack,
    "passes": _passes,
    "zoo": _zoo,
}


def _parse(given: list[str]) -> _Command:
    """The command is the first argument that is no flag."""
    first = next((i for i, word in enumerate(given) if word not in FLAGS), len(given))
    command = COMMANDS.get(given[first]) if first < len(given) else None
    return command(given[:first] + given[first + 1 :]) if command else _compress(given)


def _say(line: str) -> None:
    print(f"onnxsqueeze: {' '.join(line.split())}", file=sys.stderr, flush=True)


def _abandon() -> None:
    """The end of an interrupted run whose main thread is inside of native code."""
    import atexit

    from onnxsqueeze.pipeline.staging import sweep

    sweep()
    atexit._run_exitfuncs()
    _say("interrupted")


def _guarded(command: _Command) -> int:
    """Runs a command; every failure becomes one line and an exit code."""
    if not command.options.debug:
        warnings.simplefilter("ignore")  # what libraries have to say to developers
    try:
        command()
        sys.stdout.flush()
        return 0
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `onnxsqueeze zoo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if command.options.debug:
            raise
        _say(_sentence(error))
        return 2 if isinstance(error, PipelineError) else 1


def _sentence(error: Exception) -> str:
    if isinstance(error, SqueezeError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory; nothing was written"
    return f"unexpected {type(error).__name__}: {error}; nothing was written; run again with --debug and report this"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, 1 (error), 2 (usage), 130 (interrupted)."""
    from onnxsqueeze.pipeline.interrupts import interruptible

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # names in models hold any character, terminals do not
    try:
        with interruptible(_abandon):
            return _guarded(_parse(list(sys.argv[1:] if arguments is None else arguments)))
    except KeyboardInterrupt:  # while arguments were read
        _say("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
