"""Tests marked `zoo` are skipped, with the reason, where a model cannot be fetched."""

from __future__ import annotations

import os
from collections.abc import Generator
from importlib.util import find_spec

import pytest

if not find_spec("onnxsqueeze") or not find_spec("onnxsqueeze.passes"):
    raise pytest.UsageError("onnxsqueeze is not installed in this Python; first: pip install -e '.[test]'")

from onnxsqueeze.errors import ModelError

# Without a network, every client should give up soon.
os.environ.setdefault("PIP_RETRIES", "1")
os.environ.setdefault("npm_config_fetch_retries", "1")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    yield from _skipped_where_unreachable(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    yield from _skipped_where_unreachable(item)


def _skipped_where_unreachable(item: pytest.Item) -> Generator[None, None, None]:
    try:
        yield
    except ModelError as error:
        if item.get_closest_marker("zoo") and str(error).startswith("cannot fetch zoo package"):
            pytest.skip(str(error))
        raise
