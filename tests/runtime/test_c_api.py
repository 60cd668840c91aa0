"""The provider from a program in C: what it calls, in order, is what is called here by way of ctypes.

In C++, with onnxruntime's headers, the same is::

    Ort::Env env;
    env.RegisterExecutionProviderLibrary("SqueezeExecutionProvider", "libonnxsqueeze.so");
    std::vector<Ort::ConstEpDevice> ours;
    for (auto device : env.GetEpDevices())
      if (std::string(device.EpName()) == "SqueezeExecutionProvider") ours = {device};
    Ort::SessionOptions options;
    options.AppendExecutionProvider_V2(env, ours, {});
    Ort::Session session(env, "small.onnx", options);

Before onnxruntime 1.23.1, from 1.17 on, the same library holds custom operators, for files that
``onnxsqueeze unpack small.onnx operators.onnx --custom-ops`` has written::

    Ort::SessionOptions options;
    options.RegisterCustomOpsLibrary("libonnxsqueeze.so");
    Ort::Session session(env, "operators.onnx", options);
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from sparse_models import build, packed, sparse

from onnxsqueeze.pipeline.unpack import unpack_file
from onnxsqueeze.runtime import native
from onnxsqueeze.runtime.provider import NAME

VERSION = 23  # of the API: that of onnxruntime 1.23
SLOTS = {  # where onnxruntime's C header has these functions in the table of its API
    "GetErrorMessage": 2,
    "CreateEnv": 3,
    "CreateSession": 7,
    "Run": 9,
    "CreateSessionOptions": 10,
    "CreateTensorWithDataAsOrtValue": 49,
    "GetTensorMutableData": 51,
    "CreateCpuMemoryInfo": 69,
    "ReleaseEnv": 92,
    "ReleaseMemoryInfo": 94,
    "ReleaseSession": 95,
    "ReleaseValue": 96,
    "ReleaseSessionOptions": 100,
    "AddSessionConfigEntry": 130,
    "RegisterCustomOpsLibrary_V2": 228,
    "RegisterExecutionProviderLibrary": 301,
    "UnregisterExecutionProviderLibrary": 302,
    "GetEpDevices": 303,
    "SessionOptionsAppendExecutionProvider_V2": 304,
    "EpDevice_EpName": 312,
}
FLOAT = 1


class _Base(ctypes.Structure):
    _fields_ = (("GetApi", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)),)


class Api:
    """The functions of SLOTS; those that return a status raise RuntimeError."""

    def __init__(self, library: Path) -> None:
        get_base = ctypes.CDLL(str(library)).OrtGetApiBase
        get_base.restype = ctypes.POINTER(_Base)
        self._table = ctypes.cast(get_base().contents.GetApi(VERSION), ctypes.POINTER(ctypes.c_void_p))

    def __getattr__(self, name: str) -> Any:
        return ctypes.CFUNCTYPE(ctypes.c_void_p)(self._table[SLOTS[name]])

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a function that returns a status."""
        if status := getattr(self, name)(*arguments):
            message = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(self._table[SLOTS["GetErrorMessage"]])
            raise RuntimeError((message(status) or b"").decode())

    def made(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """Calls a function whose last argument is where it puts what it makes."""
        handle = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle

    def release(self, **handles: ctypes.c_void_p) -> None:
        """Releases objects, each by its kind."""
        for kind, handle in handles.items():
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._table[SLOTS[f"Release{kind}"]])(handle)


def library() -> Path:
    """onnxruntime's shared library."""
    return next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))


def devices(api: Api, env: ctypes.c_void_p) -> Iterator[ctypes.c_void_p]:
    """Our devices among those that onnxruntime knows."""
    found, count = ctypes.POINTER(ctypes.c_void_p)(), ctypes.c_size_t()
    api.call("GetEpDevices", env, ctypes.byref(found), ctypes.byref(count))
    name_of = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(
        ctypes.cast(api.EpDevice_EpName, ctypes.c_void_p).value
    )
    yield from (ctypes.c_void_p(device) for device in found[: count.value] if name_of(device) == NAME.encode())


def run(model: Path, account: Path, feed: np.ndarray[Any, Any], columns: int) -> np.ndarray[Any, Any]:
    """What a C program does: registers the library, opens a session with the provider, runs it, lets go of all."""
    api = Api(library())
    env = api.made("CreateEnv", 3, b"example")
    api.call("RegisterExecutionProviderLibrary", env, NAME.encode(), str(native.library_path()).encode())
    options = api.made("CreateSessionOptions")
    add_provider(api, env, options, account)
    values = run_session(api, env, options, model, feed, columns)
    api.call("UnregisterExecutionProviderLibrary", env, NAME.encode())
    api.release(Env=env)
    return values


def run_operators(model: Path, feed: np.ndarray[Any, Any], columns: int) -> np.ndarray[Any, Any]:
    """The same with a model of custom operators."""
    api = Api(library())
    env = api.made("CreateEnv", 3, b"example")
    options = api.made("CreateSessionOptions")
    api.call("RegisterCustomOpsLibrary_V2", options, str(native.library_path()).encode())
    values = run_session(api, env, options, model, feed, columns)
    api.release(Env=env)
    return values


def add_provider(api: Api, env: ctypes.c_void_p, options: ctypes.c_void_p, account: Path) -> None:
    """Gives a session to be our provider, and two of its options."""
    ours = (ctypes.c_void_p * 1)(next(devices(api, env)))
    api.call(
        "SessionOptionsAppendExecutionProvider_V2",
        options,
        env,
        ours,
        ctypes.c_size_t(1),
        None,
        None,
        ctypes.c_size_t(0),
    )
    for name, value in (("kernel", "always"), ("account", str(account))):
        api.call("AddSessionConfigEntry", options, f"ep.{NAME.lower()}.{name}".encode(), value.encode())


def run_session(
    api: Api, env: ctypes.c_void_p, options: ctypes.c_void_p, model: Path, feed: np.ndarray[Any, Any], columns: int
) -> np.ndarray[Any, Any]:
    """Opens a session and runs it, once; both go, and the options, too."""
    session = api.made("CreateSession", env, str(model).encode(), options)
    memory = api.made("CreateCpuMemoryInfo", 0, 0)
    shape = (ctypes.c_int64 * 2)(*feed.shape)
    given = api.made(
        "CreateTensorWithDataAsOrtValue",
        memory,
        ctypes.c_void_p(feed.ctypes.data),
        ctypes.c_size_t(feed.nbytes),
        shape,
        ctypes.c_size_t(2),
        FLOAT,
    )
    inputs, outputs = (ctypes.c_char_p * 1)(b"x"), (ctypes.c_char_p * 1)(b"y")
    results = (ctypes.c_void_p * 1)()
    one = ctypes.c_size_t(1)
    api.call("Run", session, None, inputs, (ctypes.c_void_p * 1)(given), one, outputs, one, results)
    data = api.made("GetTensorMutableData", ctypes.c_void_p(results[0])).value
    assert data is not None
    values = (
        np.ctypeslib.as_array((ctypes.c_float * (len(feed) * columns)).from_address(data)).reshape(-1, columns).copy()
    )
    api.release(Value=ctypes.c_void_p(results[0]))
    api.release(Value=given, MemoryInfo=memory, Session=session, SessionOptions=options)
    return values


def test_a_c_program_uses_the_provider(tmp_path: Path) -> None:
    """In a process of its own, so that Python's onnxruntime has no part in it."""
    proto = build("(float[n,150] x) => (float[n,100] y) { y = MatMul(x, w) }", w=sparse(150, 100))
    (tmp_path / "small.onnx").write_bytes(packed(proto))
    unpack_file(tmp_path / "small.onnx", tmp_path / "operators.onnx", "always")
    feed = sparse(3, 150, zeros=0)
    np.save(tmp_path / "x.npy", feed)
    code = "import sys; sys.path[:0] = sys.argv[1:3]; import test_c_api; test_c_api.main(sys.argv[3])"
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code, str(here), str(here.parent / "passes"), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for name in ("y.npy", "z.npy"):
        np.testing.assert_allclose(np.load(tmp_path / name), session.run(None, {"x": feed})[0], atol=1e-5)
    account = [json.loads(line) for line in (tmp_path / "account.jsonl").read_text().splitlines()]
    assert [line["weight"] for line in account if line["kernel"]] == ["w", "w"], "once in each run"


def main(folder: str) -> None:
    """The program: runs twice, registering and unregistering the library each time."""
    here = Path(folder)
    for _ in range(2):
        values = run(here / "small.onnx", here / "account.jsonl", np.load(here / "x.npy"), 100)
    np.save(here / "y.npy", values)
    for _ in range(2):
        values = run_operators(here / "operators.onnx", np.load(here / "x.npy"), 100)
    np.save(here / "z.npy", values)
