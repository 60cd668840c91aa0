"""Making an update: what turns the files of one model into those of another."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from onnxsqueeze.errors import ModelError
from onnxsqueeze.ota import blob, container, structure
from onnxsqueeze.ota.bundle import Bundle, read
from onnxsqueeze.ota.container import Section, Target, Update
from onnxsqueeze.ota.copies import Source
from onnxsqueeze.ota.place import check_update_output, place
from onnxsqueeze.ota.wire import Irregular
from onnxsqueeze.pipeline.staging import check_distinct, staging, writing

FILES, STRUCTURE = 0, 1  # methods: the files as they are, given the old ones; skeletons and weights


@dataclass(frozen=True)
class Difference:
    """What ``diff`` did."""

    old: str
    new: str
    output: str
    old_nbytes: int
    new_nbytes: int
    nbytes: int  # of the update
    seconds: float

    @property
    def ratio(self) -> float:
        """Bytes of the new model over those of the update."""
        return self.new_nbytes / self.nbytes


def diff(old: str | os.PathLike[str], new: str | os.PathLike[str], output: str | os.PathLike[str]) -> Difference:
    """Writes an update that turns the model in ``old`` into the one in ``new``, byte for byte.

    Raises SqueezeError; no file is written or changed then.
    """
    started = time.perf_counter()
    target = Path(output)
    check_update_output(target)
    before, after = read(Path(old)), read(Path(new))
    check_distinct(target, *before.paths, *after.paths)
    with staging(target) as folder, writing(target):
        data = make(before, after)
        place(folder, target, [("", data)])
    seconds = time.perf_counter() - started
    return Difference(str(old), str(new), str(output), before.nbytes, after.nbytes, len(data), seconds)


def make(old: Bundle, new: Bundle) -> bytes:
    """The bytes of an update; the same for the same files."""
    if new.nbytes > container.largest(old.nbytes):
        raise ModelError(f"'{new.path}' is far larger than '{old.path}'; send it as it is")
    if unfit := next((name for name in new.names if not container.is_plain(name)), None):
        raise ModelError(f"external data '{unfit}' of '{new.path}' has a name that not every system takes; rename it")
    if len(new.files) > container.MAX_FILES:
        raise ModelError(f"'{new.path}' has over {container.MAX_FILES} files; join its external data")
    targets = tuple(Target(name, len(file)) for name, file in zip(("", *new.names), new.files, strict=True))
    source = Source(old.joined())
    identity = (old.identity()[: container.OLD_DIGEST], old.nbytes, new.identity(), targets)
    whole = Section(new.nbytes, blob.compress(new.joined(), source))
    found = [container.write(Update(FILES, *identity, (whole,)))]
    with suppress(Irregular):
        found.append(container.write(Update(STRUCTURE, *identity, structure.make(old, new, source)[0])))
    return min(found, key=len)
