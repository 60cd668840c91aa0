"""What the caller gives to run models on: inputs to verify on, and calibration samples."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxsqueeze.calibration import synthetic
from onnxsqueeze.calibration.samples import Samples, read, split
from onnxsqueeze.errors import ModelError, PipelineError
from onnxsqueeze.model.dense import external_files, file_nbytes
from onnxsqueeze.model.load import parse
from onnxsqueeze.verify import signature


def inputs(given: Any) -> tuple[Sequence[Mapping[str, Any]] | None, str]:
    """Feeds, and where they come from in words; None where none were given."""
    if given is None:
        return None, ""
    if isinstance(given, str | os.PathLike):
        return signature.read(os.fspath(given)), os.fspath(given)
    if isinstance(given, Mapping):
        return [given], "given inputs"
    if not given:
        raise ModelError("inputs are empty; give at least one set, or none at all to have some made")
    return list(given), "given inputs"


def check_types(model: Any, output: Any, passes: Any, inputs: Any, calibration: Any) -> None:
    """Refuses arguments that cannot be what they are to be."""
    paths = (str, os.PathLike)
    if not (isinstance(model, paths) or hasattr(model, "graph")):
        raise ModelError(f"a model is a path or an onnx.ModelProto, not {type(model).__name__}")
    if output is not None and not isinstance(output, paths):
        raise ModelError(f"an output is a path, not {type(output).__name__}")
    if passes is not None and not isinstance(passes, str):
        raise PipelineError(f"passes are a text such as 'prune,share,huffman', not {type(passes).__name__}")
    for name, value in (("inputs", inputs), ("calibration samples", calibration)):
        if value is not None and not isinstance(value, (*paths, Mapping, Sequence)):
            raise ModelError(f"{name} are a path, a feed or a sequence of feeds, not {type(value).__name__}")


def check(source: Path, feeds: Sequence[Mapping[str, Any]] | None, origin: str) -> None:
    """Refuses inputs that are not the model's, before any work is done."""
    if feeds is not None:
        signature.check(parse(source), feeds, origin)


def samples(calibration: Any, source: Path) -> Samples | None:
    """Calibration samples that fit the model, in two parts; raises ModelError where they do not."""
    if calibration is None:
        return None
    proto = parse(source)
    if isinstance(calibration, str | os.PathLike):
        origin: str = os.fspath(calibration)
        feeds: list[Any] = list(read(calibration, proto))
    else:
        origin = "given samples"
        feeds = [calibration] if isinstance(calibration, Mapping) else list(calibration)
    if not feeds:
        raise ModelError("calibration samples are empty; give at least one, or none at all")
    checked = signature.check(proto, feeds, origin)
    for number, feed in enumerate(checked):
        _check_values(number, feed, origin)
    return split(checked, origin)


def _check_values(number: int, feed: Mapping[str, Any], origin: str) -> None:
    """Refuses samples that tell nothing; infinities may be meant, as in masks."""
    if all(array.size == 0 for array in feed.values()):
        raise ModelError(f"{origin}: sample {number + 1} is empty; leave it out")
    for name, array in feed.items():
        if np.issubdtype(array.dtype, np.floating) and np.isnan(array).any():
            raise ModelError(f"{origin}: input '{name}' of sample {number + 1} holds NaN; leave the sample out")


MADE = 16  # samples where none are given


def made(source: Path, seed: int, most: int) -> Samples | None:
    """Samples made from the signature; None for models of over ``most`` bytes, or that do not run."""
    from onnxsqueeze.verify.run import open_session

    proto = parse(source)
    if file_nbytes(source, proto) > most:
        return None
    try:
        session = open_session(source, False, "model")
        feeds = signature.make(session, proto, seed, MADE)
    except ModelError:
        return None
    fitted = None if external_files(proto, source.parent) else synthetic.fitting(proto, feeds, seed)
    told = "inputs made from the signature" if fitted is None else "noise that fits the BatchNormalization statistics"
    return split(fitted or feeds, f"{told}, no real data")
