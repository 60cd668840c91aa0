"""Fold: what can be computed or dropped before the weights are looked at, at no cost in accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from onnxsqueeze.model import Model
from onnxsqueeze.model.graphs import edges, remove_dead
from onnxsqueeze.passes.fold_batchnorm import fold_batchnorms
from onnxsqueeze.passes.fold_labels import remove_remarks, shorten_names
from onnxsqueeze.passes.fold_names import remove_identities, share_duplicates


@dataclass(frozen=True)
class Fold:
    """Removes Identity nodes, folds BatchNormalization into weights, shares equal tensors, drops the dead.

    `names`: values between nodes get short names, nodes lose theirs and what exporters remark on them; inputs, outputs
    and weights keep their names.
    """

    batchnorm: bool = True
    duplicates: bool = True
    dead: bool = True
    names: bool = True

    def __call__(self, model: Model, context: object) -> int:
        changes = remove_identities(edges(model.proto))
        if self.batchnorm:
            changes += fold_batchnorms(model)
        if self.duplicates:
            changes += share_duplicates(model)
        if self.dead:
            changes += remove_dead(model.proto.graph)
        if self.names:
            changes += shorten_names(model) + remove_remarks(model)
        model.refresh()
        return changes
