"""Bytes, joules and seconds: the published energies, where weights are held, and what devices skip."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxsqueeze
from onnxsqueeze import cost
from onnxsqueeze.cost.fit import with_constants
from onnxsqueeze.cost.latency import bandwidth
from onnxsqueeze.zoo import graphs

LENET = Path(__file__).parents[2] / "zoo" / "models" / "lenet-5.onnx"


def layer(inputs: int, outputs: int, rows: int = 1) -> onnx.ModelProto:
    """One matrix product."""
    weight = np.full((inputs, outputs), 0.1, np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, outputs])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_the_energies_of_45_nm() -> None:
    """Horowitz 2014; Han et al. 2016, table 1: picojoules, accesses for a word of 32 bits."""
    table = cost.energy_table("45nm")
    assert {key: table.picojoules[key] for key in (
        "int32.add", "float32.add", "word.register", "int32.multiply", "float32.multiply", "word.sram", "word.dram",
        "int8.add", "int8.multiply", "float16.add", "float16.multiply",
    )} == {
        "int32.add": 0.1, "float32.add": 0.9, "word.register": 1.0, "int32.multiply": 3.1, "float32.multiply": 3.7,
        "word.sram": 5.0, "word.dram": 640.0, "int8.add": 0.03, "int8.multiply": 0.2, "float16.add": 0.4,
        "float16.multiply": 1.1,
    }  # fmt: skip
    assert table.mac(32) == pytest.approx(4.6e-12)
    assert table.access("dram") == pytest.approx(160e-12)


@pytest.mark.parametrize("name", cost.energy_tables())
def test_every_energy_has_a_source(name: str) -> None:
    table = cost.energy_table(name)
    assert set(table.picojoules) == set(table.sources) and all(table.sources.values())
    assert table.access("register") < table.access("sram") < table.access("dram")


def test_a_vector_without_reuse_pays_for_dram_not_for_arithmetic() -> None:
    """Two orders of magnitude: 640 pJ a word against 4.6 pJ for the multiplication and addition."""
    workload = cost.analyse(layer(4096, 4096))
    found = cost.estimate(workload, cost.load_device("generic-cpu"))
    assert not found.on_chip and workload.nodes[0].reuse == 1
    assert 100 < found.energy.dram / found.energy.compute < 200
    assert found.traffic.dram == pytest.approx(4 * 4096 * 4096)


def test_rows_reuse_weights() -> None:
    device = cost.load_device("generic-cpu")
    one, many = (cost.estimate(cost.analyse(layer(4096, 4096, rows)), device) for rows in (1, 64))
    assert many.energy.dram < 1.1 * one.energy.dram and many.energy.compute == pytest.approx(64 * one.energy.compute)


def test_a_model_35_times_smaller_moves_from_dram_to_sram() -> None:
    """Han et al. 2016: AlexNet's 240 MB become 6.9 MB, and a word costs 5 pJ instead of 640."""
    device = cost.load_device("eie")
    workload = cost.analyse(layer(4096, 4096))  # 67 MB
    weight = dataclasses.replace(workload.weights[0], stored_nbytes=workload.weight_nbytes // 35)
    small = dataclasses.replace(workload, weights=(weight,))
    before, after = cost.estimate(workload, device), cost.estimate(small, device)
    assert (before.on_chip, after.on_chip) == (False, True)
    assert after.traffic.dram == after.energy.dram == 0
    table = device.energy.picojoules
    assert table["word.dram"] / table["word.sram"] == 128
    assert before.energy.total > 5 * after.energy.total


def test_zero_weights_and_activations_are_skipped_only_where_the_profile_says_so() -> None:
    workload = cost.analyse(layer(512, 512, 8))
    node = dataclasses.replace(workload.nodes[0], nonzero_macs=workload.macs // 10)
    sparse = dataclasses.replace(workload, nodes=(node,))
    for name, less in (("generic-cpu", 1.0), ("eie", 0.1)):
        device = cost.load_device(name)
        one, other = cost.estimate(workload, device), cost.estimate(sparse, device)
        assert other.energy.compute == pytest.approx(less * one.energy.compute, rel=0.01)
        assert other.time.compute == pytest.approx(less * one.time.compute, rel=0.01)
    eie = cost.load_device("eie")
    busy = dataclasses.replace(eie, skips_zero_activations=False)
    ratio = cost.estimate(workload, eie).energy.compute / cost.estimate(workload, busy).energy.compute
    assert ratio == pytest.approx(eie["sparse.activation_density"])


def test_sparse_tensor_cores_double_the_peak_for_their_pattern_only() -> None:
    device = cost.load_device("a100-2:4")
    workload = cost.analyse(layer(4096, 4096, 1024))
    fits = dataclasses.replace(workload, nodes=(dataclasses.replace(workload.nodes[0], pattern=(2, 4)),))
    gain = cost.estimate(workload, device).time.compute / cost.estimate(fits, device).time.compute
    assert gain == pytest.approx(device["sparse.peak"] * device["sparse.efficiency"])
    dense = cost.load_device("a100-dense")
    assert cost.estimate(fits, dense).time == cost.estimate(workload, dense).time


@pytest.mark.parametrize("name", cost.devices())
def test_time_is_work_over_peak_and_efficiency(name: str) -> None:
    """And the parts are the whole."""
    device = cost.load_device(name)
    found = cost.estimate(cost.analyse(LENET), device)
    assert found.energy.total == pytest.approx(sum(n.energy.total for n in found.nodes))
    assert found.time.total == pytest.approx(sum(n.time.total for n in found.nodes) + device.get("overhead.run", 0.0))
    for node in found.nodes:
        parts = node.time
        assert (
            max(parts.compute, parts.memory)
            <= parts.total - parts.overhead + 1e-15
            <= parts.compute + parts.memory + 1e-15
        )
        if node.work.kind == "gemm" and not device.skips_zero_weights:
            assert parts.compute == pytest.approx(node.work.macs / (device.peak(32) * device.efficiency("gemm")))


def test_more_of_everything_is_never_cheaper() -> None:
    workload, device = cost.analyse(layer(512, 512, 8)), cost.load_device("mobile-soc")
    usual = cost.estimate(workload, device).time.total
    for key in ("compute.float32", "memory.dram_bandwidth", "memory.sram_bandwidth", "efficiency.gemm"):
        faster = with_constants(device, {key: 2 * device[key]}, "test")
        assert cost.estimate(workload, faster).time.total <= usual
    assert bandwidth(device, 1e9) <= bandwidth(device, 1)


def test_compression_shortens_loading_and_never_lengthens_a_run(tmp_path: Path) -> None:
    onnxsqueeze.compress(LENET, tmp_path / "small.onnx", "prune{sparsity=0.9},share{bits=4},huffman")
    one, other = cost.analyse(LENET), cost.analyse(tmp_path / "small.onnx")
    for name in cost.devices():
        device = cost.load_device(name)
        before, after = cost.estimate(one, device), cost.estimate(other, device)
        assert after.load_seconds < before.load_seconds / 5
        assert after.storage_nbytes == other.stored_nbytes
        assert after.time.total <= before.time.total * 1.001 and after.energy.total <= before.energy.total * 1.001


def test_a_thousand_nodes_take_no_time() -> None:
    """Work grows with the model, not with its square: 4 times the nodes in at most some 6 times the steps."""
    found = cost.analyse(graphs.mlp(8, 1000))
    assert len([n for n in found.nodes if n.op in ("Gemm", "MatMul")]) == 1000
    assert found.macs == 1000 * 64
