"""The command line, one command a module; everything but the printing is in the modules that they call."""

from __future__ import annotations

import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence

from onnxsqueeze.cli import compress
from onnxsqueeze.cli.command import Command
from onnxsqueeze.errors import PipelineError, SqueezeError

COMMANDS = {
    "inspect": "FILE        the weights: where, what they feed, bytes, zeros, encoding",
    "verify": "A B         do two models give the same outputs?",
    "report": "A B         what was saved, layer by layer: tables, HTML, Markdown",
    "sweep": "IN          a grid of pipelines: size against fidelity, and the knee",
    "sensitivity": "IN          each weight alone, sparser and coarser: what the outputs lose",
    "bench": "FILE        latency and memory: stock, with the execution provider, dense",
    "calibrate": "OUT.toml    measure this machine, for predictions of time",
    "unpack": "FILE OUT    back to plain dense ONNX, for any engine",
    "ota": "ACTION …    over-the-air updates: report, diff, apply",
    "passes": "            every pass with its options",
    "zoo": "            the real models that can be fetched by name",
}
"""Command to usage and summary; the module of the same name parses and runs it."""

FLAGS = ("--json", "--quiet", "--debug")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, 1 (error), 2 (usage). Interrupted, the process ends with 130."""
    from onnxsqueeze.pipeline.interrupts import interruptible
    from onnxsqueeze.pipeline.staging import sweep

    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # names in models hold any character, terminals do not
    try:
        with interruptible("onnxsqueeze: interrupted", sweep):
            return _guarded(_parse(list(sys.argv[1:] if arguments is None else arguments)))
    except KeyboardInterrupt:  # just before or after the work
        _say("interrupted")
        return 130


def _open_closed() -> None:
    """Where the caller has closed standard streams, no file of ours may come in their place."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)
    sys.stdout, sys.stderr = sys.stdout or os.fdopen(1, "w"), sys.stderr or os.fdopen(2, "w")


def _parse(given: list[str]) -> Command:
    """The command is the first argument that is no flag."""
    first = next((i for i, word in enumerate(given) if word not in FLAGS), len(given))
    if first < len(given) and given[first] in COMMANDS:
        module = importlib.import_module(f"onnxsqueeze.cli.{given[first]}")
        parsed: Command = module.command(given[:first] + given[first + 1 :])
        return parsed
    return compress.command(given, "".join(f"  onnxsqueeze {name:<11} {what}\n" for name, what in COMMANDS.items()))


def _guarded(command: Command) -> int:
    """Runs a command; every failure becomes one line and an exit code."""
    if not command.options.debug:
        warnings.simplefilter("ignore")  # what libraries have to say to developers
    try:
        command.run()
        return 0
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


def _say(line: str) -> None:
    print(f"onnxsqueeze: {' '.join(line.split())}", file=sys.stderr, flush=True)
