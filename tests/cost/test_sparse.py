"""Break-even: bytes of the usual formats, sparse kernels, and realized reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser
from scipy import sparse as scipy_sparse

from onnxsqueeze import cost
from onnxsqueeze.cost.fit import with_constants
from onnxsqueeze.cost.formats import FORMATS, Matrix, break_even, first_sparsity, nbytes
from onnxsqueeze.cost.sparse import dense_time, smallest, sparse_time


def model(zeros: float, rows: int = 1, pattern: bool = False) -> onnx.ModelProto:
    weight = np.random.default_rng(0).standard_normal((1024, 512)).astype(np.float32)
    if pattern:
        weight[::4] = weight[1::4] = 0
    else:
        weight[np.random.default_rng(1).random(weight.shape) < zeros] = 0
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (float[{rows},1024] x) => (float[n] y) {{ y = MatMul (x, w) }}'
    made = parser.parse_model(text)
    made.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return made


def test_csr_is_what_scipy_stores() -> None:
    matrix = scipy_sparse.random(300, 200, 0.1, "csr", np.float32, random_state=0)
    stored = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    assert nbytes("CSR, 32-bit columns", Matrix(300, 200, matrix.nnz)) == stored


def test_relative_indices_are_what_an_encoder_stores() -> None:
    """Counted over random places: an entry for each nonzero, and one for each 16 zeros that a distance is longer."""
    places = np.flatnonzero(np.random.default_rng(0).random(1_000_000) < 0.05)
    distances = np.diff(places, prepend=-1)
    entries = len(places) + int(((distances - 1) // 16).sum())
    predicted = nbytes("relative index, 4 bits", Matrix(1000, 1000, len(places)))
    assert predicted == pytest.approx(entries * 36 / 8, rel=0.01)


@pytest.mark.parametrize("name", FORMATS)
def test_break_even_is_where_bytes_are_equal(name: str) -> None:
    found = break_even(name, 1000, 1000)
    assert found is not None and 0 <= found <= 0.55
    dense = 4e6
    above = nbytes(name, Matrix(1000, 1000, 1e6 * (1 - found - 0.01)))
    assert above < dense
    if found > 0.02:
        assert nbytes(name, Matrix(1000, 1000, 1e6 * (1 - found + 0.01))) >= dense


def test_known_break_evens() -> None:
    """An index as wide as its value doubles it; 2:4 holds no matrix with fewer zeros than half."""
    assert break_even("CSR, 32-bit columns", 4096, 4096) == pytest.approx(0.5, abs=0.01)
    assert break_even("CSR, 16-bit columns", 4096, 4096) == pytest.approx(1 / 3, abs=0.01)
    assert break_even("bitmask", 4096, 4096) == pytest.approx(1 / 32, abs=0.01)
    assert break_even("2:4", 4096, 4096) == 0.5
    assert break_even("CSR, 16-bit columns", 4, 1 << 17) is None
    assert (
        smallest(1000, 1000, 0.0)[0] in ("dense", "gaps, Huffman") and smallest(1000, 1000, 0.95)[0] == "gaps, Huffman"
    )
    assert first_sparsity(lambda zeros: zeros > 2) is None


def test_a_device_without_sparse_kernels_never_gains() -> None:
    (layer,) = cost.layers(cost.analyse(model(0.9)), cost.load_device("generic-cpu"))
    assert layer.zeros == pytest.approx(0.9, abs=0.01) and (layer.rows, layer.columns) == (512, 1024)
    assert layer.sparse is None and layer.faster_from is None and layer.reductions is None


def test_a_device_that_skips_zeros_gains_from_few_on() -> None:
    (layer,) = cost.layers(cost.analyse(model(0.9)), cost.load_device("eie"))
    assert layer.faster_from is not None and layer.faster_from < 0.2
    assert layer.reductions is not None and layer.reductions.compute == pytest.approx(10, rel=0.05)


def test_sparse_tensor_cores_gain_from_their_pattern_on() -> None:
    (layer,) = cost.layers(cost.analyse(model(0.5, 4096, pattern=True)), cost.load_device("a100-2:4"))
    assert layer.faster_from == 0.5 and layer.sparse is not None
    assert layer.dense.compute / layer.sparse.compute == pytest.approx(2 * 0.85)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_break_even_of_a_kernel_is_its_share_of_the_dense_rate(share: float) -> None:
    """Where computing decides, a kernel of a fifth of the speed pays from four fifths of zeros on."""
    plenty = dict.fromkeys(("memory.dram_bandwidth", "memory.sram_bandwidth"), 1e18)
    usual = with_constants(cost.load_device("generic-cpu"), plenty, "test")
    device = with_constants(usual, {"sparse.csr_matrix": share * usual.efficiency("gemm")}, "test")
    (layer,) = cost.layers(cost.analyse(model(0.5, 64)), device)
    assert layer.faster_from == pytest.approx(1 - share, abs=0.01)


def test_a_kernel_is_faster_with_every_zero_more() -> None:
    device: Any = with_constants(
        cost.load_device("generic-cpu"), {"sparse.csr": 0.02, "sparse.csr_matrix": 0.2}, "test"
    )
    for rows in (1, 64):
        (work,) = cost.analyse(model(0.0, rows)).nodes
        times = [sparse_time(work, zeros, device) for zeros in np.linspace(0, 0.99, 12)]
        totals = [time.total for time in times if time is not None]
        assert len(totals) == 12 and totals == sorted(totals, reverse=True)
        assert dense_time(work, device, 1e9).total > 0
