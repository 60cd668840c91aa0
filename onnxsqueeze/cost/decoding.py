"""How long the native library takes to decode a packed weight when a model is opened."""

from __future__ import annotations

from collections.abc import Mapping

from onnxsqueeze.cost.device import Device
from onnxsqueeze.encode.encoded import Encoded, element_count
from onnxsqueeze.encode.names import spec_of


def steps(encoded: Encoded) -> dict[str, int]:
    """Values (of Huffman streams: bits) that go through each step of ``DECODERS`` (FORMAT.md, section 4)."""
    spec, total = spec_of(encoded.op_type), element_count(encoded)
    if spec.layout == "Fill":
        return {"fill": total}
    entries = total if spec.layout == "Dense" else int(encoded.attributes["entries"][0])
    found: dict[str, int] = {}
    for name, kind in (("p", spec.positions), ("v", spec.values)):
        if kind.startswith("H"):
            found["huffman"] = found.get("huffman", 0) + 8 * len(encoded.inputs[name])
        elif kind.startswith("P"):
            found["unpack"] = found.get("unpack", 0) + entries
    found["read" if spec.raw else "lookup"] = entries
    if spec.layout == "Gaps":
        found |= {"fill": total, "scatter": entries}
    elif spec.layout == "NM":
        found["group"] = total
    if spec.scaled:
        found["scale"] = total
    return found


def seconds(found: Mapping[str, int], device: Device) -> float:
    """Seconds of all steps; 0 on devices whose profile does not tell (``decode`` in a calibrated one does)."""
    return sum(count / device.get("decode." + step, float("inf")) for step, count in found.items())
