"""Updates restore the new model byte for byte, and cost little where little has changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from pairs import Versions, compressed, external, grown, renamed, retrained, saved, small

from onnxsqueeze import zoo
from onnxsqueeze.errors import SqueezeError
from onnxsqueeze.ota import Difference, apply, diff


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}


def there_and_back(old: Path, new: Path, folder: Path) -> Difference:
    """Makes an update, applies it, and compares every byte."""
    work = folder / f"update-{len(list(folder.iterdir()))}"
    work.mkdir()
    before = old.read_bytes(), new.read_bytes()
    made = diff(old, new, work / "u.osq")
    first = (work / "u.osq").read_bytes()
    diff(old, new, work / "again.osq")
    assert (work / "again.osq").read_bytes() == first, "the same files give the same update"
    applied = apply(old, work / "u.osq", work / "restored.onnx")
    assert (work / "restored.onnx").read_bytes() == new.read_bytes()
    assert (old.read_bytes(), new.read_bytes()) == before
    assert (made.nbytes, made.new_nbytes, applied.nbytes) == (len(first), made.new_nbytes, made.new_nbytes)
    return made


CHANGES: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "retrained": retrained,
    "one tensor": lambda m: retrained(m, only=m.graph.initializer[0].name),
    "renamed": renamed,
    "grown": grown,
    "unrelated": lambda m: retrained(m, 100.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_dense_models(tmp_path: Path, change: str) -> None:
    old = saved(small(), tmp_path / "old.onnx")
    new = saved(CHANGES[change](small()), tmp_path / "new.onnx")
    assert there_and_back(old, new, tmp_path).ratio > 1
    assert there_and_back(new, old, tmp_path).ratio > 1


@pytest.mark.parametrize("passes", ["share{bits=4}", "prune,share,huffman", "prune{sparsity=0.8},huffman", "huffman"])
@pytest.mark.parametrize("change", CHANGES)
def test_compressed_models(tmp_path: Path, change: str, passes: str) -> None:
    old = compressed(small(), tmp_path / "old.onnx", passes)
    new = compressed(CHANGES[change](small()), tmp_path / "new.onnx", passes)
    assert there_and_back(old, new, tmp_path).ratio > 1


def test_an_unchanged_model_costs_next_to_nothing(versions: Versions, tmp_path: Path) -> None:
    for path in (versions.old_dense, versions.old):
        assert there_and_back(path, path, tmp_path).nbytes < 200


def test_renamed_weights_cost_their_names_only(versions: Versions, tmp_path: Path) -> None:
    new = saved(renamed(onnx.load(versions.old_dense)), tmp_path / "new.onnx")
    assert there_and_back(versions.old_dense, new, tmp_path).nbytes < 1000


def test_old_codebooks_make_updates_small(versions: Versions, tmp_path: Path) -> None:
    alone = there_and_back(versions.old, versions.new, tmp_path)
    kept = there_and_back(versions.old, versions.kept, tmp_path)
    assert 3 * kept.nbytes < alone.nbytes


def test_from_dense_to_compressed_and_back(versions: Versions, tmp_path: Path) -> None:
    there_and_back(versions.old_dense, versions.old, tmp_path)
    there_and_back(versions.old, versions.new_dense, tmp_path)


def test_recompressed_by_another_pipeline(tmp_path: Path) -> None:
    old = compressed(small(), tmp_path / "old.onnx")
    for passes in ("share{bits=3}", "prune{granularity=2:4},huffman", "huffman"):
        there_and_back(old, compressed(small(), tmp_path / "new.onnx", passes), tmp_path)


@pytest.mark.parametrize("kind", ["float16", "float64", "int8", "int64", "bool"])
def test_other_types(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    first = (8 * rng.standard_normal((40, 50))).astype(kind)
    second = first.copy()
    second[::7] = (8 * rng.standard_normal(second[::7].shape)).astype(kind)
    paths = []
    for name, values in (("a", first), ("b", second)):
        node = onnx.helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(values))
        info = onnx.helper.make_tensor_value_info("y", onnx.helper.np_dtype_to_tensor_dtype(values.dtype), [40, 50])
        model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [info]))
        paths.append(saved(model, tmp_path / f"{name}.onnx"))
    assert there_and_back(*paths, tmp_path).ratio > 2


def test_external_data(versions: Versions, tmp_path: Path) -> None:
    model = onnx.load(versions.old_dense)
    old = external(model, tmp_path / "old", "model.onnx")
    new = external(retrained(model), tmp_path / "new", "model.onnx")
    diff(old, new, tmp_path / "u.osq")
    (tmp_path / "made").mkdir()
    apply(old, tmp_path / "u.osq", tmp_path / "made" / "model.onnx")
    assert files(tmp_path / "made" / "model.onnx") == files(new)
    there_and_back(new, versions.old, tmp_path)  # from several files to one
    with pytest.raises(SqueezeError, match="is there already"):
        apply(old, tmp_path / "u.osq", tmp_path / "old" / "other.onnx")
    assert len(files(old)) == 2


def test_in_place(versions: Versions, tmp_path: Path) -> None:
    installed = Path(shutil.copy(versions.old, tmp_path / "model.onnx"))
    diff(installed, versions.kept, tmp_path / "u.osq")
    apply(installed, tmp_path / "u.osq", installed)
    assert installed.read_bytes() == versions.kept.read_bytes()


@pytest.mark.zoo
@pytest.mark.parametrize("name", ["silero-vad", pytest.param("ppocr-det", marks=pytest.mark.slow)])
def test_real_models(tmp_path: Path, name: str) -> None:
    old = zoo.fetch(name)
    there_and_back(old, compressed(old, tmp_path / "small.onnx"), tmp_path)
    new = saved(retrained(onnx.load(old), 0.01), tmp_path / "new.onnx")
    there_and_back(old, new, tmp_path)
    there_and_back(tmp_path / "small.onnx", compressed(new, tmp_path / "new_small.onnx"), tmp_path)
