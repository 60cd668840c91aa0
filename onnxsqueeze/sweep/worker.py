"""A process that runs pipelines: one request a line on stdin, one answer a line on stdout, in JSON; and its other end.

Python threads would run one pipeline at a time, for the most part. A worker ends with its parent, which holds the
other end of its stdin, and leaves interruptions to it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from onnxsqueeze.errors import ModelError, SqueezeError
from onnxsqueeze.sweep.point import Point


@dataclasses.dataclass(frozen=True)
class Request:
    """One pipeline to be run."""

    source: str
    folder: str  # is made, and takes the model
    passes: str
    inputs: str | None  # an .npz file
    seed: int
    jobs: int


class Worker:
    """The parent's end of a worker."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", "onnxsqueeze.sweep.worker"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the parent
        )

    def ask(self, request: Request) -> Point:
        """Runs a pipeline; raises ModelError where it is not the pipeline that is to blame."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(dataclasses.asdict(request)) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            raise ModelError("a process that ran a pipeline was ended, maybe for lack of memory; use fewer jobs")
        told = json.loads(answer)
        if "failure" in told:
            raise ModelError(told["failure"])
        return Point(**told)

    def close(self) -> None:
        """Ends the worker, also in the middle of things."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # what was not sent yet
                    stream.close()
        self._process.wait()


def run(request: Request) -> dict[str, Any]:
    """What a pipeline comes to, as the fields of a point; or the sentence of a failure that ends the sweep."""
    from onnxsqueeze.compress import compress

    point = Point(request.passes)
    folder = Path(request.folder)
    folder.mkdir()
    try:
        result = compress(
            request.source,
            folder / point.file,
            request.passes,
            inputs=request.inputs,
            seed=request.seed,
            jobs=request.jobs,
        )
    except SqueezeError as error:
        if isinstance(error.__cause__, OSError):  # such as a full disk
            return {"failure": str(error)}
        return dataclasses.asdict(dataclasses.replace(point, problem=str(error)))
    return dataclasses.asdict(Point.of(result, request.passes))


def _listen(stream: IO[str], requests: SimpleQueue[str]) -> None:
    for line in stream:
        requests.put(line)
    os._exit(0)  # the parent is done, or gone


def main() -> None:
    """Serves the parent until it is done."""
    import warnings

    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever else prints
    requests: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin, requests), daemon=True).start()
    while True:
        request = Request(**json.loads(requests.get()))
        try:
            told = run(request)
        except MemoryError:
            told = {"failure": "out of memory; use fewer jobs"}
        answers.write(json.dumps(told) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
