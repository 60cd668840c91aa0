"""One model on its way: passes run, weights packed, the draft written, verified, or replaced by a copy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxsqueeze.errors import ModelError
from onnxsqueeze.pipeline.staging import data_file

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline.context import Context
    from onnxsqueeze.pipeline.lower import Packed
    from onnxsqueeze.pipeline.run import Step
    from onnxsqueeze.verify import Verification

RUN_UP_TO = 2 << 30  # dense bytes; beyond, models are verified tensor by tensor only, unless inputs are given
BODY_OPSET = 13  # what the bodies of the decode functions are written in


class Draft:
    """One model on its way through a folder of drafts."""

    def __init__(self, source: Path, folder: Path, target: Path | None, context: Context) -> None:
        self.source, self.context = source, context
        self.path = folder / (Path(os.path.realpath(target)).name if target else "output.onnx")
        self._folder = folder
        self._decodable = self.path  # the draft with its decode nodes, even where the output has them inlined
        self._digests: dict[str, str] = {}
        self._opset = 0

    def draft(self, pipeline: Sequence[Any], inline: bool) -> tuple[list[Step], list[Packed]]:
        """Runs the pipeline and writes the result into the folder."""
        from onnxsqueeze.model import Model
        from onnxsqueeze.passes import PASSES
        from onnxsqueeze.pipeline.lower import lower
        from onnxsqueeze.pipeline.run import run
        from onnxsqueeze.pipeline.stamp import stamp
        from onnxsqueeze.verify.tensors import digests, signature_of

        model = Model.load(self.source, self._folder)
        self._refuse_unsuited(model)
        signature = signature_of(model.proto)
        steps = run(model, pipeline, PASSES, self.context)
        self._digests = digests(model)
        weights = lower(model, self.context)
        if signature_of(model.proto) != signature:
            raise ModelError(f"'{self.source}' would change its inputs or outputs; please report this")
        stamp(model, text_of(pipeline), inline)
        self._opset = model.opset
        if inline:
            self._decodable = self._folder / "decodable.onnx"
            model.save(self._decodable)
            _inline(model, self.source)
        model.save(self.path)
        return steps, weights

    def _refuse_unsuited(self, model: Model) -> None:
        from onnxsqueeze.pipeline.stamp import is_inlined

        if model.is_packed:
            raise ModelError(f"'{self.source}' is compressed already; unpack it first: onnxsqueeze unpack IN OUT")
        if is_inlined(model):
            raise ModelError(f"'{self.source}' is compressed already, with --inline; compress its original instead")
        if not model.weights():
            raise ModelError(
                f"'{self.source}' holds no float weights of 64 elements or more; there is nothing to compress"
            )

    def copy(self, weights: Sequence[Packed]) -> list[Packed]:
        """Takes the source in the place of the draft; external data under the name that goes with it."""
        from onnxsqueeze.model import Model
        from onnxsqueeze.model.dense import files_of

        self.context.notes("nothing could be saved: the output is a copy of the input")
        data_file(self.path).unlink(missing_ok=True)
        self._digests, self._decodable, self._opset = {}, self.path, BODY_OPSET
        if len(files_of(self.source)) > 1:
            Model.load(self.source, self._folder).save(self.path)
        else:
            shutil.copyfile(self.source, self.path)
        return [replace(w, encoding="", nbytes=w.dense_nbytes) for w in weights]

    def verify(self, feeds: Any, origin: str, nbytes: int) -> Verification | None:
        """Opens and runs the draft beside the original, of so many bytes; refuses one that is worse than inexact."""
        from onnxsqueeze.verify import FRUGAL_FROM, CannotOpen, CannotRun, verify

        if nbytes > RUN_UP_TO and feeds is None:
            self._verify_tensors("a model of over 2 GB is not run without --inputs")
            return None
        progress = self.context.progress
        try:
            found = verify(
                self.source, self.path, feeds, origin, self.context.seed, nbytes > FRUGAL_FROM, progress=progress
            )
        except CannotRun as error:
            self._verify_tensors(str(error))
            return None
        except CannotOpen as error:
            if self._opset >= BODY_OPSET:
                raise
            raise ModelError(
                f"'{self.source}' is of opset {self._opset}, which cannot be raised to the {BODY_OPSET} that packed "
                "weights need; export it with a later opset"
            ) from error
        if broken := next((f for f in found.outputs if not f.finite), None):
            raise ModelError(
                f"output '{broken.output}' turns to NaN or infinity, or changes its shape, with these passes; "
                "nothing was written"
            )
        return found

    def _verify_tensors(self, reason: str) -> None:
        """Where the model cannot be run: decodes what lies in the file and compares it with what was packed."""
        from onnxsqueeze.verify.tensors import check_file

        count = check_file(self._decodable, self._digests)
        what = f"all {count} packed weights were decoded and compared bit for bit" if count else "no weight is packed"
        self.context.notes(f"{reason}; so outputs were not compared, but {what}, and onnx.checker accepts the file")


def text_of(pipeline: Sequence[Any]) -> str:
    from onnxsqueeze.passes import PASSES
    from onnxsqueeze.pipeline import to_text

    return to_text(pipeline, PASSES)


def _inline(model: Model, source: Path) -> None:
    if model.opset < BODY_OPSET:
        raise ModelError(
            f"'{source}' cannot be raised from opset {model.opset} to {BODY_OPSET}, which decoding inside the graph "
            "needs; leave --inline out"
        )
    if not model.inline():
        raise ModelError(f"onnx cannot inline the decode functions of '{source}'; leave --inline out")
