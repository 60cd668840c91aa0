"""What every command is made of: a parser, and a run that prints tables or JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from onnxsqueeze.errors import SqueezeError


@dataclass(frozen=True)
class Command:
    """A parsed command, ready to run."""

    options: argparse.Namespace
    run: Callable[[], None]


class _Parser(argparse.ArgumentParser):
    """Tells of wrong usage in one line."""

    def error(self, message: str) -> NoReturn:
        if message.endswith("expected one argument"):  # also where the value looks like an option, as -1% does
            option = message.removeprefix("argument ").partition(":")[0].split("/")[-1]
            message += f"; write {option}=VALUE for one that begins with '-'"
        self.exit(2, f"onnxsqueeze: {message}; see {self.prog} --help\n")


def parser(name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    """A parser with the options that all commands share."""
    made = _Parser(
        prog=f"onnxsqueeze {name}".strip(),
        description=summary,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--json", action="store_true", help="print facts as JSON, for machines")
    made.add_argument("--quiet", action="store_true", help="print nothing but errors")
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return made


def from_(least: int) -> Callable[[str], int]:
    """An argparse type: whole numbers of at least ``least``."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, not '{text}'")
        return value

    return convert


def add_seed(made: argparse.ArgumentParser) -> None:
    """The option ``--seed``."""
    made.add_argument("--seed", type=from_(0), default=0, metavar="N", help="seed of all random draws (default 0)")


def add_score(made: argparse.ArgumentParser) -> None:
    """The option ``--score``."""
    what = "takes a model's path, gives its score: that decides then"
    made.add_argument("--score", metavar="MODULE:FUNCTION", default="", help=what)


def add_page(made: argparse.ArgumentParser) -> None:
    """The option ``--html``."""
    made.add_argument("--html", metavar="FILE.html", help="write a page that needs no network")


def bars(options: argparse.Namespace) -> Any:
    """Progress bars, unless the output is for machines or for nobody."""
    from onnxsqueeze.report.progress import Bars

    return Bars(visible=not (options.quiet or options.json))


def show(options: argparse.Namespace, told: Callable[[], Any], draw: Callable[[Any], None]) -> None:
    """Prints facts as JSON or as tables, or nothing."""
    try:
        if options.json:
            from onnxsqueeze.report.facts import plain

            print(json.dumps(plain(told()), indent=2, allow_nan=False))
        elif not options.quiet:
            from onnxsqueeze.report.tables import Screen

            draw(Screen(width=None if sys.stdout.isatty() else 120))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SqueezeError(f"the work is done, but cannot be told of on stdout: {error.strerror or error}") from error
