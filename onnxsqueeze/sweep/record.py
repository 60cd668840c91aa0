"""A sweep's folder: the models of the front, and a record by which a sweep goes on after a break."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxsqueeze.errors import ModelError
from onnxsqueeze.pipeline.staging import data_file, put
from onnxsqueeze.sweep.front import front
from onnxsqueeze.sweep.point import Point

NAME = "sweep.json"
KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,), "None": ()}


class Record:
    """Points by their pipelines; with a folder, the models of the front among them lie in it."""

    def __init__(self, folder: Path | None, key: Mapping[str, Any]) -> None:
        self.path = None if folder is None else folder / NAME
        self.points: dict[str, Point] = {}
        self._key = dict(key)
        if self.path is not None and self.path.exists():
            self.points = {p.passes: p for p in _read(self.path, self._key)}

    def known(self, passes: str) -> Point | None:
        """What is known of a pipeline; None where it must be run, also because its model is gone."""
        point = self.points.get(passes)
        if point is None or self.path is None:
            return None
        return None if point.kept and not self.path.with_name(point.file).is_file() else point

    def add(self, point: Point, made: Path) -> None:
        """Takes a point in; on the front, its model comes into the folder. ``made``, where it was made, goes."""
        self.points[point.passes] = point
        if self.path is not None:
            best = self._front()
            if point.passes in best:
                put(made / point.file, self.path.with_name(point.file))
                self.points[point.passes] = dataclasses.replace(point, kept=True)
            for other in list(self.points.values()):
                if other.kept and other.passes not in best:
                    self._remove(other)
            self._write(made)
        shutil.rmtree(made, ignore_errors=True)

    def _front(self) -> set[str]:
        placed = [(p.passes, place) for p in self.points.values() if (place := p.place) is not None]
        return {placed[i][0] for i in front([place for _, place in placed])}

    def _remove(self, point: Point) -> None:
        assert self.path is not None
        file = self.path.with_name(point.file)
        for path in (file, data_file(file)):
            path.unlink(missing_ok=True)
        self.points[point.passes] = dataclasses.replace(point, kept=False)

    def _write(self, folder: Path) -> None:
        assert self.path is not None
        draft = folder / NAME
        told = self._key | {"points": [dataclasses.asdict(p) for p in self.points.values()]}
        draft.write_text(json.dumps(told, indent=1), encoding="utf-8")
        put(draft, self.path)


def open_record(folder: str | os.PathLike[str] | None, source: Path, inputs: Path | None, seed: int) -> Record:
    """The record of a sweep over a model; raises ModelError where the folder holds another sweep, or is none."""
    from onnxsqueeze import __version__

    if folder is None:
        return Record(None, {})
    path = Path(folder)
    try:
        path.mkdir(exist_ok=True)
    except FileNotFoundError:
        raise ModelError(f"folder '{path.parent}' does not exist; create it first") from None
    except OSError as error:
        raise ModelError(f"'{path}' cannot be used as a folder for models: {error.strerror}") from error
    given = "" if inputs is None else _digest(inputs)
    key = {"model": _digest(source), "inputs": given, "seed": seed, "version": __version__}
    return Record(path, key)


def _read(path: Path, key: Mapping[str, Any]) -> list[Point]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        points = [_point(entry) for entry in told["points"]]
        same = {name: told[name] for name in key} == dict(key)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"'{path}' is not the record of a sweep; move it away, or give another folder") from error
    if not same:
        raise ModelError(
            f"'{path.parent}' holds a sweep of another model, version, seed or other inputs; give another folder"
        )
    return points


def _point(entry: Any) -> Point:
    """A point whose every field has its type; raises ValueError."""
    for field in dataclasses.fields(Point):
        value, kinds = entry[field.name], str(field.type).split(" | ")
        if not (value is None and "None" in kinds) and not any(type(value) in KINDS[kind] for kind in kinds):
            raise ValueError(field.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(field.name)
    if not entry["problem"] and not entry["nbytes"] > 0:
        raise ValueError("nbytes")
    return Point(**{field.name: entry[field.name] for field in dataclasses.fields(Point)})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
