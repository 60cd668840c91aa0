"""Which nodes a runtime runs inside others."""

from __future__ import annotations

from collections.abc import Sequence

from onnxsqueeze.cost.values import Step


def hosts(steps: Sequence[Step]) -> dict[str, str]:
    """For each fused node the node that it runs in."""
    return {}
