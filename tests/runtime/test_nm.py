"""N:M weights: decoded natively, and which kernel runs them."""

from __future__ import annotations

import numpy as np
import pytest
from sparse_models import Array

from onnxsqueeze.encode.decode import choose_kernel, decode
from onnxsqueeze.encode.layouts import smallest
from onnxsqueeze.encode.note import Note, Pattern
from onnxsqueeze.passes.granularity import keep_n_of_m
from onnxsqueeze.runtime import native


def patterned(shape: tuple[int, ...], axis: int, kept: int, group: int) -> Array:
    weight = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return np.where(keep_n_of_m(weight, axis, kept, group), weight, np.float32(0))


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((96, 64), 1), ((64, 96), 0), ((100, 36), 1), ((70, 32, 3, 3), 1), ((33, 64, 1, 1), 1), ((5, 32, 7), 1)],
)
def test_decoded_bit_for_bit(shape: tuple[int, ...], axis: int) -> None:
    weight = patterned(shape, axis, 2, 4)
    encoded = smallest(weight, Note(pattern=Pattern(2, 4, axis)))
    assert encoded is not None
    assert encoded.op_type.startswith("NM_")
    assert np.array_equal(decode(encoded).reshape(shape), weight)


def test_few_rows_run_packed() -> None:
    encoded = smallest(patterned((256, 256), 1, 2, 4), Note(pattern=Pattern(2, 4, 1)))
    assert encoded is not None
    most = {"avx512": 16, "avx2": 3}.get(native.isa(), 0)
    kernels = {rows: choose_kernel(encoded, "Gemm", rows, 1, "auto", "") for rows in (1, 3, 16, 64, -1)}
    assert kernels == {rows: "sparse" if 0 <= rows <= most else "" for rows in kernels}
