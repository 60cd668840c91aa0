"""The weights of a model on grids: one by one, or in the order of their use, each making up for those before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.calibration.collect import layers
from onnxsqueeze.calibration.matrices import readings
from onnxsqueeze.calibration.residuals import residuals
from onnxsqueeze.encode import Note
from onnxsqueeze.model import Model
from onnxsqueeze.passes import rate_distortion
from onnxsqueeze.passes.biases import Biases
from onnxsqueeze.passes.quantizer import Inputs, Quantizer
from onnxsqueeze.passes.rows import RowQuantizer, only_picked, row_weights
from onnxsqueeze.pipeline import Silent
from onnxsqueeze.pipeline.store import digest_of_feeds, digest_of_files

if TYPE_CHECKING:
    from onnxsqueeze.calibration.collect import Layer
    from onnxsqueeze.calibration.residuals import Residual
    from onnxsqueeze.model import Weight
    from onnxsqueeze.passes.quantizer import Quantized
    from onnxsqueeze.passes.rate_distortion import Choice, Table
    from onnxsqueeze.pipeline import Context

Array = npt.NDArray[Any]
Choices = Mapping[str, "Choice | None"]
INPUTS = ("matrices", "uppers", "shares")  # of a weight's, by which it is put on grids
FITTED = ("wanted", *INPUTS, "before", "means")  # of a weight fitted in order, by which it is put on another grid


@dataclass(frozen=True, eq=False)
class State:
    """All weights as they were at some time."""

    values: Mapping[str, Array]
    notes: Mapping[str, Note | None]
    now: Mapping[str, Choice | None]
    shifts: Mapping[str, Array | None]
    in_order: bool


class Grids:
    """A model whose weights are put on grids, in place, again and again; None as a choice brings a weight back.

    Biases of single weights take up what their change does to outputs on average.
    """

    def __init__(
        self, model: Model, weights: Sequence[Weight], feeds: Sequence[Any], context: Context, folder: Path
    ) -> None:
        """``feeds``: samples that weights are fitted to. What is measured on them lies in ``folder``."""
        self._model, self._weights, self._feeds, self._context = model, list(weights), feeds, context
        self._folder = folder
        self._originals = {w.name: w.values().copy() for w in weights}
        self._notes = {w.name: w.note for w in weights}
        self.now: dict[str, Choice | None] = {w.name: None for w in weights}
        self._in_order = False
        self.fitted: Choices | None = None  # what weights were last fitted in order to
        self._readings = readings(model, set(self._originals)) if feeds else {}
        self._picked = only_picked(model, self._readings)
        self._biases = Biases(model, self._readings, set(self._originals))
        self.key: dict[str, Any] = {}  # what results depend on that are kept for later runs
        if feeds or context.store:
            model.save(folder / "original.onnx", durable=False)
        if context.store:
            files = digest_of_files(sorted(folder.glob("original.onnx*")))
            known = sorted((name, repr(note)) for name, note in self._notes.items())
            self.key = {"model": files, "samples": digest_of_feeds(feeds), "notes": known}
        if feeds:
            self._store_inputs()

    def tables(self) -> list[Table]:
        """What each weight may become."""

        def measure(weight: Weight) -> Table | None:
            def make() -> Table | None:
                return rate_distortion.measure(weight.name, self._quantizer(weight))

            key = self.key | {"weight": weight.name}
            return self._context.store.recall("table", key, make, rate_distortion.packed, rate_distortion.unpacked)

        return [t for t in self._context.each("tables", measure, self._weights, lambda w: w.name) if t is not None]

    def forget(self, name: str) -> Table | None:
        """What a weight may become from now on, as if nothing were known of its inputs."""
        for what in (*INPUTS, "means", "weights"):
            self._file(name, what).unlink(missing_ok=True)
        return rate_distortion.measure(name, self._quantizer(next(w for w in self._weights if w.name == name)))

    def apply(self, choices: Choices) -> dict[str, float]:
        """Puts weights on grids as if the others were as they have been; returns the error of each that changed."""
        changed = [w for w in self._weights if w.name in choices and choices[w.name] != self.now[w.name]]
        if self._in_order:
            self.restore()
            changed = [w for w in self._weights if choices.get(w.name) is not None]

        def work(weight: Weight) -> tuple[Array, Note | None, Array | None, float]:
            original, choice = self._originals[weight.name], choices[weight.name]
            found = None if choice is None else _on_grid(self._quantizer(weight), choice)
            if found is None:
                return original, self._notes[weight.name], None, 0.0
            moved, means = None, self._means(weight.name) if weight.name in self._biases else None
            if means is not None:
                moved = self._outputs(weight.name, original, means) - self._outputs(weight.name, found.values, means)
            return found.values, self._noted(weight.name, found), moved, found.error

        errors, shifts = {}, {}
        done = replace(self._context, progress=Silent()).each("apply", work, changed, lambda w: w.name)
        for weight, (values, note, moved, error) in zip(changed, done, strict=True):
            weight.assign(values)
            weight.note, self.now[weight.name], errors[weight.name] = note, choices[weight.name], error
            if weight.name in self._biases:
                shifts[weight.name] = moved
        self._biases.shift(shifts)
        self._model.compact()
        return errors

    def refit(self, choices: Choices) -> None:
        """Puts weights on grids in the order of their use, on what the changed ones before feed them.

        Each comes as close as it can to the original outputs, and so makes up for what those before changed; its bias
        takes up what is left on average.
        """
        self.restore()
        original = Model.load(self._folder / "original.onnx", self._folder)
        of, chosen = {w.name: w for w in self._weights}, {n for n, choice in choices.items() if choice is not None}
        self.fitted = None
        for path in self._folder.glob("*.fitted.*"):
            path.unlink()
        known = {name: self._originals[name] for name in chosen if self._inputs(name) is not None}
        for stage in residuals(self._model, original, known, self._feeds, self._context.jobs):
            for residual in stage:
                self._fit(of[residual.name], residual, choices)
                chosen.discard(residual.name)
        self.apply({name: choices[name] for name in chosen})
        self._in_order, self.fitted = True, dict(choices)

    def adjust(self, choices: Choices) -> None:
        """Puts weights that were fitted in order on other grids where they stand; those after them stay as they are.

        The same choices give the same weights, whatever was in between; those of ``fitted`` what ``refit`` has made.
        """
        everything, self._in_order = not self._in_order, False
        changed = [w for w in self._weights if everything or choices[w.name] != self.now[w.name]]
        again = [w for w in changed if choices[w.name] and self._file(w.name, "fitted.wanted").exists()]
        self.apply({w.name: choices[w.name] for w in changed if w not in again})

        def work(weight: Weight) -> tuple[Quantized | None, Array | None]:
            name, choice = weight.name, choices[weight.name]
            assert choice is not None
            wanted, *inputs, before, means = (np.load(self._file(name, f"fitted.{what}")) for what in FITTED)
            own = Inputs(self._readings[name][0], *inputs)
            found = _on_grid(Quantizer(wanted, weight.channel_axis, own), choice)
            return found, before - self._outputs(name, found.values, means) if found and before.size else None

        done = replace(self._context, progress=Silent()).each("apply", work, again, lambda w: w.name)
        for weight, (found, moved) in zip(again, done, strict=True):
            self._take(weight, choices[weight.name], found, moved)
        self._in_order = True
        self._model.compact()

    def restore(self) -> None:
        """Brings all weights and biases back."""
        self._in_order = False
        self.apply(dict.fromkeys(self._originals))
        self._biases.shift(dict.fromkeys(self._biases.shifts()))

    def state(self) -> State:
        """What ``put`` brings back."""
        values = {
            w.name: self._originals[w.name] if self.now[w.name] is None else w.values().copy() for w in self._weights
        }
        notes = {w.name: w.note for w in self._weights}
        return State(values, notes, dict(self.now), self._biases.shifts(), self._in_order)

    def put(self, state: State) -> None:
        """Brings back what was."""
        for weight in self._weights:
            weight.assign(state.values[weight.name])
            weight.note = state.notes[weight.name]
        self._biases.shift(state.shifts)
        self.now, self._in_order = dict(state.now), state.in_order
        self._model.compact()

    def _fit(self, weight: Weight, residual: Residual, choices: Choices) -> None:
        choice, name, centred = choices[weight.name], weight.name, weight.name in self._biases
        assert choice is not None
        original = self._originals[name]
        inputs = Inputs.of(self._readings[name][0], residual.moments, centred)
        wanted = inputs.target(original, residual, centred)
        found = _on_grid(Quantizer(wanted, weight.channel_axis, inputs), choice)
        means, before = residual.moments.means, np.zeros(0)
        if centred:
            before = self._outputs(name, original, residual.original_means)
        kept = (wanted, *(getattr(inputs, what) for what in INPUTS), before, means)
        for what, values in zip(FITTED, kept, strict=True):
            np.save(self._file(name, f"fitted.{what}"), values)
        self._take(
            weight, choice, found, before - self._outputs(name, found.values, means) if found and centred else None
        )

    def _take(self, weight: Weight, choice: Choice | None, found: Quantized | None, moved: Array | None) -> None:
        """Makes the weight what was found; brings it back where that is nothing."""
        if found is None:
            self.apply({weight.name: None})
            return
        weight.assign(found.values)
        weight.note, self.now[weight.name] = self._noted(weight.name, found), choice
        if weight.name in self._biases:
            self._biases.shift({weight.name: moved})

    def _noted(self, name: str, found: Quantized) -> Note:
        return replace(self._notes[name] or Note(), sharing=found.sharing)

    def _outputs(self, name: str, values: Array, means: Array) -> Array:
        """What a weight makes of inputs [groups or 1, inputs]: float64 [groups, outputs]."""
        matrix = self._readings[name][0].matrix(values).astype(np.float64)
        made: Array = np.matmul(matrix, means[:, :, None].astype(np.float64))[:, :, 0]
        return made

    # What is known of the inputs of weights

    def _store_inputs(self) -> None:
        """Puts second moments, and what is made of them, on disk: together they may be larger than the model."""
        store = self._context.store
        for name in store.recall("reached", self.key, self._collect, list, _names):
            if not self._file(name, self._what(name)[-1]).exists():
                key = self.key | {"weight": name}
                for what, values in store.recall_arrays("inputs", key, partial(self._collected, name)).items():
                    np.save(self._file(name, what), values)

    def _collect(self) -> list[str]:
        """Measures all that samples reach; the names of these weights."""
        names = []
        for layer in self._layers():
            made = self._known(layer)
            self._context.store.recall_arrays("inputs", self.key | {"weight": layer.name}, partial(dict, made))
            for what, values in made.items():
                np.save(self._file(layer.name, what), values)
            names.append(layer.name)
        return names

    def _collected(self, name: str) -> dict[str, Array]:
        """What was kept of one weight and is there no more, or is damaged: measured again, with all others."""
        self._collect()
        return {what: np.load(self._file(name, what)) for what in self._what(name)}

    def _what(self, name: str) -> tuple[str, ...]:
        return ("weights",) if self._readings[name][0].kind == "rows" else (*INPUTS, "means")

    def _known(self, layer: Layer) -> dict[str, Array]:
        """What is kept of a layer."""
        moments = layer.moments
        if layer.reading.kind == "rows":
            return {"weights": row_weights(moments.frequencies, moments.rows)}
        inputs = Inputs.of(layer.reading, moments, layer.name in self._biases)
        return {what: getattr(inputs, what) for what in INPUTS} | {"means": moments.means}

    def _layers(self) -> Iterator[Layer]:
        context = self._context
        for stage in layers(self._model, self._feeds, set(self._originals), context.jobs, context.progress):
            yield from (layer for layer in stage if layer.moments.matrices.size or layer.name in self._picked)

    def _file(self, name: str, what: str) -> Path:
        return self._folder / f"{list(self._originals).index(name)}.{what}.npy"

    def _means(self, name: str) -> Array | None:
        path = self._file(name, "means")
        return np.load(path) if path.exists() else None

    def _inputs(self, name: str) -> Inputs | None:
        if not self._file(name, "uppers").exists():
            return None
        loaded = (np.load(self._file(name, what), mmap_mode="r") for what in INPUTS)
        return Inputs(self._readings[name][0], *loaded)

    def _quantizer(self, weight: Weight) -> Quantizer:
        if (path := self._file(weight.name, "weights")).exists():
            return RowQuantizer(self._originals[weight.name], weight.channel_axis, np.load(path))
        return Quantizer(self._originals[weight.name], weight.channel_axis, self._inputs(weight.name))


def told(choices: Choices) -> dict[str, Any]:
    """Choices as JSON values."""
    return {name: c and [c.fineness, c.scaled] for name, c in choices.items()}


def _names(kept: Any) -> list[str]:
    if not isinstance(kept, list) or not all(isinstance(name, str) for name in kept):
        raise ValueError("these are no names")
    return kept


def _on_grid(quantizer: Quantizer, choice: Choice) -> Quantized | None:
    return quantizer.at(choice.fineness, quantizer.scales[-1] if choice.scaled else None)
