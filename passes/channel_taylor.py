"""First-order importance: how the outputs move when a channel is turned down a little (Molchanov et al. 2017).

There is no gradient in onnxruntime. Instead every reader's input is multiplied by a mask that is an optional input of
the model, masks are moved along orthogonal or random directions, and the answers are put together again: for groups of
up to ``PROBES`` channels that gives each channel's derivative exactly, for wider ones an unbiased estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxsqueeze.groups import Group, Groups
from onnxsqueeze.passes.channel_activations import Reading, opened, outputs_of
from onnxsqueeze.passes.channel_saliency import Saliency

if TYPE_CHECKING:
    from onnxsqueeze.pipeline import Context

Array = npt.NDArray[Any]
PROBES = 64  # directions a group
RUNS = 1 << 13  # of the model; as many calibration inputs are used as fit, two at least
STEP = 0.02  # by which a mask is moved


def taylor(groups: Groups, readings: dict[int, list[Reading]], context: Context) -> dict[int, Saliency]:
    """Mean square of the outputs' derivative with respect to each channel, for the groups that have readers."""
    probes = sum(len(_directions(groups[number].width, 0)) for number, listed in readings.items() if listed)
    feeds = (context.calibration or ())[: max(2, RUNS // max(probes, 1))]
    found = {}
    with TemporaryDirectory(prefix="onnxsqueeze-") as folder:
        proto, masks = _masked(groups, [r for listed in readings.values() for r in listed], Path(folder))
        session = opened(proto, Path(folder), context.jobs)
        names = [output.name for output in session.get_outputs() if output.type.startswith("tensor(float")]
        plain = [outputs_of(session, names, feed) for feed in feeds]
        context.progress.start("taylor", len(readings))
        run = (session, names, feeds, plain)
        for number, listed in readings.items():
            if listed:
                found[number] = _derivatives(groups[number], listed, masks, run, context.seed)
            context.progress.advance(f"group {number}")
        context.progress.finish()
    return found


def _directions(width: int, seed: int) -> Array:
    """Signs [probes, width]; orthogonal columns where there are no more than ``PROBES``."""
    from scipy.linalg import hadamard

    if width <= PROBES:
        return np.asarray(hadamard(1 << max(width - 1, 0).bit_length())[:, :width], np.float32)
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), (PROBES, width))


def _derivatives(
    group: Group, listed: Sequence[Reading], masks: dict[int, str], run: tuple[Any, ...], seed: int
) -> Saliency:
    session, names, feeds, plain = run
    signs = _directions(group.width, seed)
    total = np.zeros(group.width)
    for feed, before in zip(feeds, plain, strict=True):
        moved = []
        for sign in signs:
            given = {masks[id(r)]: _mask(r, sign) for r in listed}
            after = outputs_of(session, names, {**feed, **given})
            moved.append(np.concatenate([_change(a, b) for a, b in zip(after, before, strict=True)]))
        slopes = signs.T @ np.stack(moved) / len(signs)  # [width, outputs]
        total += np.square(slopes, dtype=np.float64).mean(axis=1)
    return total


def _change(after: Array, before: Array) -> Array:
    change: Array = (after.astype(np.float32) - before.astype(np.float32)).reshape(-1) / STEP
    return change if change.size <= 1 << 16 else change[:: change.size >> 16]


def _mask(reading: Reading, sign: Array) -> Array:
    mask = np.ones(int(reading.length), np.float32)
    mask[reading.member.positions] += STEP * sign[:, None]
    return mask.reshape(-1, *[1] * reading.behind)


def _masked(groups: Groups, readings: Sequence[Reading], folder: Path) -> tuple[ModelProto, dict[int, str]]:
    """The model with a mask before every reader, and the masks' names by reading."""
    path = folder / "masked.onnx"
    groups.model.save(path, external=False)
    proto = ModelProto()
    proto.ParseFromString(path.read_bytes())
    nodes = {node.output[0]: node for node in proto.graph.node if node.output}
    before: dict[str, list[NodeProto]] = {}
    masks: dict[int, str] = {}
    places: dict[tuple[str, str], int] = {}
    for count, reading in enumerate(readings):
        node = nodes[reading.step.node.output[0]]
        name = f"onnxsqueeze.mask.{count}"
        ones = np.ones((int(reading.length), *[1] * reading.behind), np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(ones, name))
        proto.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ones.shape))
        key = node.output[0], reading.value  # groups and the channels within them read the same input, one by one
        if key not in places:
            places[key] = list(node.input).index(reading.value)
        place = places[key]
        before.setdefault(node.output[0], []).append(
            helper.make_node("Mul", [node.input[place], name], [f"{name}.out"], name=f"{name}.mul")
        )
        node.input[place] = f"{name}.out"
        masks[id(reading)] = name
    listed = list(proto.graph.node)
    del proto.graph.node[:]
    for node in listed:
        proto.graph.node.extend([*before.get(node.output[0] if node.output else "", []), node])
    return proto, masks
