"""Running passes: what is measured, what is named when one fails, and the order of results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from onnxsqueeze.errors import FormatError, ModelError, PassError
from onnxsqueeze.model import Model
from onnxsqueeze.passes import PASSES
from onnxsqueeze.pipeline import Context, parse
from onnxsqueeze.pipeline.lower import lower
from onnxsqueeze.pipeline.run import run
from onnxsqueeze.pipeline.stamp import is_inlined, passes_of, stamp
from onnxsqueeze.pipeline.unpack import unpack, unpack_file


def model() -> Model:
    proto = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,64] x) => (float[a,b] y) { y = MatMul(x, w) }'
    )
    weight = np.random.default_rng(0).standard_normal((64, 96)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return Model.load(proto)


@dataclass(frozen=True)
class Refuse:
    def __call__(self, model: Model, context: Context) -> int:
        raise ModelError("no")


@dataclass(frozen=True)
class Break:
    def __call__(self, model: Model, context: Context) -> int:
        model.proto.graph.node[0].input[1] = "nowhere"
        return 1


@dataclass(frozen=True)
class Listen:
    def __call__(self, model: Model, context: Context) -> int:
        context.notes(",".join(context.following))
        return 0


class Recorder:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def start(self, stage: str, steps: int) -> None:
        self.heard.append(f"{stage} {steps}")

    def advance(self, detail: str) -> None:
        self.heard.append(detail)

    def finish(self) -> None:
        self.heard.append("end")


TABLE: dict[str, Any] = {**PASSES, "refuse": Refuse, "break": Break, "listen": Listen}


def test_steps_add_up() -> None:
    steps = run(model(), parse("prune{sparsity=0.5},share{bits=4},huffman", TABLE), TABLE, Context())
    assert [s.text for s in steps] == ["prune{sparsity=0.5}", "share{bits=4}", "huffman"]
    assert [s.changes for s in steps] == [1, 1, 1]
    assert steps[0].nbytes_before == 64 * 96 * 4
    assert [s.nbytes_before for s in steps[1:]] == [s.nbytes_after for s in steps[:-1]]
    assert steps[1].nbytes_after < steps[1].nbytes_before / 4
    assert steps[2].nbytes_after < steps[2].nbytes_before
    assert all(s.seconds >= 0 for s in steps)


def test_bytes_are_those_of_the_file(tmp_path: Path) -> None:
    packed = model()
    steps = run(packed, parse("share{bits=4},huffman", TABLE), TABLE, Context())
    (row,) = lower(packed, Context())
    assert row.nbytes == pytest.approx(steps[-1].nbytes_after, rel=0.02)
    packed.save(tmp_path / "m.onnx")
    functions = sum(f.ByteSize() for f in packed.proto.functions)
    assert (tmp_path / "m.onnx").stat().st_size == pytest.approx(row.nbytes + functions, abs=250)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("refuse", "^refuse failed: no$"),
        ("prune,share,refuse", "^refuse failed after prune, share: no$"),
        ("prune,break", "^break failed after prune: the model is not valid ONNX: .*nowhere"),
    ],
)
def test_failures_name_the_pass_and_those_before(text: str, words: str) -> None:
    with pytest.raises(PassError, match=words):
        run(model(), parse(text, TABLE), TABLE, Context())


def test_passes_hear_what_follows() -> None:
    notes: list[str] = []
    run(model(), parse("listen,prune,listen,huffman", TABLE), TABLE, Context(notes=notes.append))
    assert notes == ["prune,listen,huffman", "huffman"]


@pytest.mark.parametrize("jobs", [1, 4])
def test_each_keeps_the_order_and_tells_of_every_step(jobs: int) -> None:
    recorder = Recorder()
    context = Context(jobs=jobs, progress=recorder)
    assert list(context.each("stage", lambda n: n * n, range(50), str)) == [n * n for n in range(50)]
    assert recorder.heard == ["stage 50", *map(str, range(50)), "end"]


def test_each_ends_where_one_fails() -> None:
    recorder = Recorder()
    with pytest.raises(ZeroDivisionError):
        list(Context(jobs=2, progress=recorder).each("stage", lambda n: 1 // (n - 3), range(9), str))
    assert recorder.heard[-1] == "end"


def test_a_stamp_is_replaced_not_repeated() -> None:
    stamped = model()
    stamped.proto.metadata_props.add(key="author", value="somebody")
    stamp(stamped, "prune", True)
    stamp(stamped, "share", False)
    assert passes_of(stamped) == "share" and not is_inlined(stamped)
    keys = [p.key for p in stamped.proto.metadata_props]
    assert keys == ["author", "ai.onnxsqueeze.passes", "ai.onnxsqueeze.version"]


def test_unpacking_gives_the_same_bits() -> None:
    packed = model()
    run(packed, parse("prune,share,huffman", TABLE), TABLE, Context())
    (weight,) = packed.weights()
    expected = weight.values().tobytes()
    lower(packed, Context())
    stamp(packed, "prune,share,huffman", False)
    assert packed.is_packed
    (unpacked,) = unpack(packed)
    assert unpacked.name == "w"
    assert packed.weights()[0].values().tobytes() == expected
    assert not packed.is_packed and not packed.proto.functions and not packed.proto.metadata_props


def test_a_dense_twin_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    packed = model()
    run(packed, parse("share,huffman", TABLE), TABLE, Context())
    lower(packed, Context())
    packed.proto.opset_import[-1].version = 7
    packed.save(tmp_path / "newer.onnx")
    with pytest.raises(FormatError, match="format version 7, this onnxsqueeze reads version 1; install a newer one"):
        unpack_file(tmp_path / "newer.onnx", tmp_path / "out.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["newer.onnx"]


def test_external_data_is_unpacked_beside_the_new_file(tmp_path: Path) -> None:
    packed = model()
    bias = numpy_helper.from_array(np.arange(96, dtype=np.int64), "table")
    packed.proto.graph.initializer.append(bias)
    packed.proto.graph.node.append(helper.make_node("Cast", ["table"], ["unused"], to=1))
    packed.refresh()
    run(packed, parse("share,huffman", TABLE), TABLE, Context())
    lower(packed, Context())
    packed.save(tmp_path / "small.onnx", external=True)
    done = unpack_file(tmp_path / "small.onnx", tmp_path / "dense.onnx")
    assert done.tensors == 1
    files = sorted(p.name for p in tmp_path.iterdir())
    assert files == ["dense.onnx", "dense.onnx.data", "small.onnx", "small.onnx.data"]
    assert done.nbytes_after == sum((tmp_path / f).stat().st_size for f in files[:2])
    onnx.checker.check_model(tmp_path / "dense.onnx", full_check=True)
