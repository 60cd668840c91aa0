"""What both models cost to run on a device, in total and for each layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxsqueeze import cost
from onnxsqueeze.report.units import metric, ratio, size

if TYPE_CHECKING:
    from onnxsqueeze.cost import Cost, Device, Workload
    from onnxsqueeze.report.layers import Side
    from onnxsqueeze.report.stored import Stored


@dataclass(frozen=True)
class Expense:
    """What some nodes cost in one inference."""

    traffic: float = 0.0  # bytes from and to DRAM
    energy: float = 0.0  # joules
    seconds: float = 0.0

    def __add__(self, other: Expense) -> Expense:
        return Expense(self.traffic + other.traffic, self.energy + other.energy, self.seconds + other.seconds)


@dataclass(frozen=True)
class Bill:
    """What one model costs."""

    total: Expense
    layers: Mapping[str, Expense]  # by weight; a node counts with the largest weight that it reads
    rest: Expense  # nodes without weights of 64 elements or more
    resident_nbytes: int  # of all weights as the device holds them while it runs
    on_chip: bool  # whether they fit its SRAM
    load_seconds: float  # to read the weights from storage
    decode_seconds: float  # to decode them then; 0 where the device does not tell


@dataclass(frozen=True)
class BreakEven:
    """From which share of zeros sparse storage pays for one layer of the compressed model."""

    layer: str
    zeros: float  # that it has
    smaller_from: Mapping[str, float | None]  # by format: fewer bytes than dense values; None: never
    faster_from: float | None  # in the device's sparse kernel; None: never, or it has none
    reductions: Mapping[str, float]  # R dense / R sparse of storage, communication, compute; empty without a kernel


@dataclass(frozen=True)
class Expenses:
    """What both models cost on one device, for one shape of the inputs."""

    device: str
    description: str
    inputs: Mapping[str, tuple[int, ...]]
    assumed: tuple[str, ...]  # sizes that were not given
    uncovered: tuple[str, ...]  # operators that are not counted
    before: Bill
    after: Bill
    break_even: tuple[BreakEven, ...]  # the compressed model's layers, those of most bytes first

    @property
    def shapes(self) -> str:
        """The shapes of the inputs, in words."""
        return ", ".join(f"{name} {'×'.join(map(str, shape)) or 'scalar'}" for name, shape in self.inputs.items())


@dataclass(frozen=True)
class Quantity:
    """One of the figures of an expense, with its unit."""

    key: str
    label: str
    title: str
    unit: str

    def of(self, expense: Expense) -> float:
        """The figure."""
        return float(getattr(expense, self.key))


QUANTITIES = (
    Quantity("traffic", "Memory traffic", "Bytes from and to DRAM in one inference", "B"),
    Quantity("energy", "Energy", "Energy of one inference", "J"),
    Quantity("seconds", "Time", "Time of one inference", "s"),
)


def estimate(
    before: Stored, after: Stored, device: Device, shapes: Mapping[str, Sequence[int] | int] | None = None
) -> Expenses:
    """Estimates both models for the same shapes; raises ModelError where they do not fit a model."""
    first = cost.analyse(before.path if before.packed else before.model, shapes)
    second = cost.analyse(after.path, first.inputs)
    return Expenses(
        device.name,
        device.description,
        first.inputs,
        first.assumed,
        tuple(dict.fromkeys([*first.uncovered, *second.uncovered])),
        _bill(cost.estimate(first, device), [w.name for w in before.model.weights()]),
        _bill(cost.estimate(second, device), [w.name for w in after.model.weights()]),
        tuple(_break_even(second, device)),
    )


def _break_even(workload: Workload, device: Device) -> Iterator[BreakEven]:
    found = sorted(cost.layers(workload, device), key=lambda layer: -layer.rows * layer.columns)
    seen: set[str] = set()
    for layer in found:
        if layer.weight not in seen:
            seen.add(layer.weight)
            gains = {} if layer.reductions is None else vars(layer.reductions)
            yield BreakEven(layer.weight, layer.zeros, layer.smaller_from, layer.faster_from, gains)


def totals(expenses: Expenses | None) -> list[tuple[str, str, str, str]]:
    """Rows for a table: what one inference takes before and after, and the ratio."""
    if expenses is None:
        return []
    rows = []
    for quantity in QUANTITIES:
        was, now = quantity.of(expenses.before.total), quantity.of(expenses.after.total)
        name = f"{quantity.label.lower()} a run"
        rows.append((name, metric(was, quantity.unit), metric(now, quantity.unit), ratio(was, now)))
    loads = expenses.before.load_seconds, expenses.after.load_seconds
    rows.append(("time to read from storage", metric(loads[0], "s"), metric(loads[1], "s"), ratio(*loads)))
    decoding = expenses.before.decode_seconds, expenses.after.decode_seconds
    if any(decoding):
        rows.append(("time to decode", metric(decoding[0], "s"), metric(decoding[1], "s"), ""))
    return rows


def residence(expenses: Expenses) -> str:
    """Where the weights are while the model runs, and how long they take to get there, in sentences."""
    first, second = expenses.before, expenses.after
    places = [
        f"{size(bill.resident_nbytes)} {'on chip' if bill.on_chip else 'in DRAM, as they do not fit on the chip'}"
        for bill in (first, second)
    ]
    held = places[0] if places[0] == places[1] else f"{places[0]}; after compression {places[1]}"
    loads = f"{metric(first.load_seconds, 's')} before, {metric(second.load_seconds, 's')} after"
    return f"While it runs, the device holds the weights as {held}. Reading them from storage takes {loads}."


def basis(expenses: Expenses) -> str:
    """What the estimates are for, in one sentence."""
    assumed = f", where {', '.join(expenses.assumed)} is assumed" if expenses.assumed else ""
    missing = f"; not counted: {', '.join(expenses.uncovered)}" if expenses.uncovered else ""
    return f"estimated for {expenses.device} and inputs {expenses.shapes}{assumed}{missing}"


def paid(side: Side | None, bill: Bill) -> Expense:
    """What a layer costs in one of the models."""
    return Expense() if side is None else bill.layers.get(side.name, Expense())


def _bill(found: Cost, names: Iterable[str]) -> Bill:
    listed = set(names)
    sizes = {weight.name: weight.elements for weight in found.workload.weights if weight.name in listed}
    layers: dict[str, Expense] = defaultdict(Expense)
    rest = Expense()
    for node in found.nodes:
        own = Expense(node.traffic.dram, node.energy.total, node.time.total)
        weights = [name for name in node.work.weights if name in sizes]
        if weights:
            layers[max(weights, key=lambda name: sizes[name])] += own
        else:
            rest += own
    total = Expense(found.traffic.dram, found.energy.total, found.time.total)
    return Bill(
        total, dict(layers), rest, found.resident_nbytes, found.on_chip, found.load_seconds, found.decode_seconds
    )
