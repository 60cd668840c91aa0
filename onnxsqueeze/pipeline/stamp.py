"""What a compressed file says about how it was made, in its metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxsqueeze.model import Model

PASSES, MAKER, INLINED = "ai.onnxsqueeze.passes", "ai.onnxsqueeze.version", "ai.onnxsqueeze.inlined"


def stamp(model: Model, passes: str, inlined: bool) -> None:
    """Writes the pipeline's text and our version; keys that are there already are replaced."""
    from onnxsqueeze import __version__

    entries = {PASSES: passes, MAKER: __version__} | ({INLINED: "true"} if inlined else {})
    kept = [(p.key, p.value) for p in model.proto.metadata_props if p.key not in (PASSES, MAKER, INLINED)]
    del model.proto.metadata_props[:]
    for key, value in [*kept, *entries.items()]:
        model.proto.metadata_props.add(key=key, value=value)


def passes_of(model: Model) -> str:
    """The pipeline that made the file; "" where it is no output of ours."""
    return next((p.value for p in model.proto.metadata_props if p.key == PASSES), "")


def is_inlined(model: Model) -> bool:
    """Whether weights were packed and their decode functions then inlined, which cannot be told from the graph."""
    return any(p.key == INLINED for p in model.proto.metadata_props)
