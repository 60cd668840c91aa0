"""The choice of decode functions: against every choice there is."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxsqueeze.pipeline.functions import IMPOSSIBLE, choose


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 6))
@settings(deadline=None, max_examples=150)
def test_close_to_the_best_choice(seed: int, weights: int, kinds: int) -> None:
    rng = np.random.default_rng(seed)
    costs = rng.integers(100, 10_000, (weights, 1 + kinds))
    costs[:, 1:][rng.random((weights, kinds)) < 0.3] = IMPOSSIBLE
    functions = np.concatenate([[0], rng.integers(1, 6000, kinds)])
    best = min(
        int(costs[:, chosen].min(axis=1).sum() + functions[chosen].sum())
        for others in product([False, True], repeat=kinds)
        if (chosen := np.array([True, *others])).any()
    )
    first = np.ones(1 + kinds, bool)
    picked = choose(costs, functions, [first, np.arange(1 + kinds) == 0])
    total = int(costs[np.arange(weights), picked].sum() + functions[np.unique(picked)].sum())
    assert best <= total <= 1.02 * best
    assert total <= costs.min(axis=1).sum() + functions.sum()


def test_weights_come_together_under_one_function() -> None:
    """Each weight is a little smaller with a function of its own; together they are smaller with one."""
    costs = np.array([[900, 500, 510, IMPOSSIBLE], [900, 510, 500, IMPOSSIBLE], [200, IMPOSSIBLE, IMPOSSIBLE, 190]])
    functions = np.array([0, 300, 300, 300])
    picked = choose(costs, functions, [np.ones(4, bool)])
    assert picked[0] == picked[1] and picked[0] in (1, 2) and picked[2] == 0
