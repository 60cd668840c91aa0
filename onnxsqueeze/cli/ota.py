"""``onnxsqueeze ota report|diff|apply``: over-the-air updates of models."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from onnxsqueeze.cli.command import Command, from_, parser, show

EXAMPLES = """\
examples:
  onnxsqueeze ota report OLD.onnx NEW.onnx --fleet 100000 --price-per-gb 0.08   what an update saves
  onnxsqueeze ota diff OLD.onnx NEW.onnx -o update.osq        what turns OLD into NEW, in few bytes
  onnxsqueeze ota apply OLD.onnx update.osq -o NEW.onnx       NEW again, byte for byte
  onnxsqueeze new.onnx NEW.onnx --ota-base OLD.onnx           a NEW whose update is small
"""


def command(arguments: Sequence[str]) -> Command:
    """Parses the command's arguments; the action is the first that is no flag."""
    given = list(arguments)
    first = next((i for i, word in enumerate(given) if not word.startswith("-")), len(given))
    if first < len(given) and given[first] in ACTIONS:
        return ACTIONS[given[first]](given[:first] + given[first + 1 :])
    made = parser("ota", "Update models over the air.", EXAMPLES)
    made.add_argument("action", metavar="ACTION", choices=list(ACTIONS), help=" or ".join(ACTIONS))
    return Command(made.parse_args(given), lambda: None)


def _diff(arguments: Sequence[str]) -> Command:
    made = parser("ota diff", "Write an update that turns OLD into NEW.", EXAMPLES)
    made.add_argument("old", metavar="OLD", help="the model that is installed")
    made.add_argument("new", metavar="NEW", help="the model that takes its place")
    made.add_argument("-o", "--output", metavar="UPDATE", required=True, help="file to write, ending in .osq")
    options = made.parse_args(arguments)
    return Command(options, lambda: _run_diff(options))


def _run_diff(options: argparse.Namespace) -> None:
    import dataclasses

    from onnxsqueeze.ota import diff

    done = diff(options.old, options.new, options.output)
    sentence = (
        f"{done.old} → {done.new}: {done.nbytes:,} bytes instead of {done.new_nbytes:,}, {done.ratio:.1f}x less, "
        f"in {done.seconds:.1f} s → {done.output}"
    )
    facts = {**dataclasses.asdict(done), "ratio": done.ratio}
    show(options, lambda: facts, lambda console: console.print(sentence, markup=False, highlight=False, soft_wrap=True))


def _apply(arguments: Sequence[str]) -> Command:
    made = parser("ota apply", "Restore NEW from OLD and an update, byte for byte.", EXAMPLES)
    made.add_argument("old", metavar="OLD", help="the model that is installed")
    made.add_argument("update", metavar="UPDATE", help="what 'ota diff' has written")
    made.add_argument("-o", "--output", metavar="NEW", required=True, help="file to write; may be OLD itself")
    options = made.parse_args(arguments)
    return Command(options, lambda: _run_apply(options))


def _run_apply(options: argparse.Namespace) -> None:
    import dataclasses

    from onnxsqueeze.ota import apply

    done = apply(options.old, options.update, options.output)
    sentence = f"{done.old} + {done.update}: {done.nbytes:,} bytes restored, in {done.seconds:.1f} s → {done.output}"
    show(
        options,
        lambda: dataclasses.asdict(done),
        lambda console: console.print(sentence, markup=False, highlight=False, soft_wrap=True),
    )


def _report(arguments: Sequence[str]) -> Command:
    made = parser("ota report", "Bytes, time, energy and money of an update, and what changed.", EXAMPLES)
    made.add_argument("old", metavar="OLD", help="the model that is installed")
    made.add_argument("new", metavar="NEW", help="the model that takes its place")
    made.add_argument(
        "--links", metavar="A,B", default="", help="links to count for: wifi, lte, 3g, lora (default: all)"
    )
    made.add_argument("--fleet", type=from_(1), default=1, metavar="N", help="devices to update (default 1)")
    made.add_argument("--price-per-gb", type=_price, metavar="X", help="price of sending a gigabyte (10**9 bytes)")
    options = made.parse_args(arguments)
    return Command(options, lambda: _run_report(options))


def _price(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, not '{text}'")
    return value


def _run_report(options: argparse.Namespace) -> None:
    import dataclasses

    from onnxsqueeze.ota import report

    names = [name.strip() for name in options.links.split(",") if name.strip()]
    found = report(options.old, options.new, names, options.fleet, options.price_per_gb)
    from onnxsqueeze.report import updates

    show(options, lambda: dataclasses.asdict(found), lambda console: updates.show(found, console))


ACTIONS = {"report": _report, "diff": _diff, "apply": _apply}
