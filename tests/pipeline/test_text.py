"""The pipeline's text: what it reads, prints back, and refuses in one sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxsqueeze.errors import PipelineError
from onnxsqueeze.passes import DEFAULT, PASSES
from onnxsqueeze.passes.huffman import Huffman
from onnxsqueeze.passes.prune import Prune
from onnxsqueeze.passes.share import Share
from onnxsqueeze.pipeline import parse, to_text


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("prune", (Prune(),)),
        ("prune,share,huffman", (Prune(), Share(), Huffman())),
        (" prune { sparsity=0.7  granularity=row } ,\n share ", (Prune(sparsity=0.7, granularity="row"), Share())),
        ("share{bits=5,init=random}", (Share(bits=5, init="random"),)),
        ("share{}", (Share(),)),
        ("share{bits=none}", (Share(),)),
        ("prune,prune", (Prune(), Prune())),
        ("prune{granularity=block(4x4)}", (Prune(granularity="block(4x4)"),)),
    ],
)
def test_reads(text: str, passes: tuple[object, ...]) -> None:
    assert parse(text, PASSES) == passes


def test_prints_only_what_differs_from_the_defaults() -> None:
    assert to_text((Prune(error=0.02), Share(bits=5, scale="none")), PASSES) == "prune,share{bits=5 scale=none}"
    assert to_text(parse(DEFAULT, PASSES), PASSES) == DEFAULT


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        (" ", "is empty|cannot read"),
        ("prune,", "ends in a comma"),
        (",prune", "cannot read the pipeline at ',prune'"),
        ("prune share", "cannot read the pipeline at 'prune share'"),
        ("prune{", "cannot read"),
        ("prune}", "cannot read"),
        ("prune{{}}", "cannot read"),
        ("prnue", "unknown pass 'prnue'; did you mean 'prune'"),
        ("xyz", "unknown pass 'xyz'; known: fold, merge, channels, "),
        ("Share", "did you mean 'share'"),
        ("share{bit=5}", "unknown option of share 'bit'; did you mean 'bits'"),
        ("share{qqq=5}", "known: bits, error, init, scale, feedback, minimum"),
        ("share{bits}", "option 'bits' of share has no value; write bits="),
        ("share{bits=}", "'' in share{bits=} is not a value of type int or none"),
        ("share{bits=5.5}", "not a value of type int or none"),
        ("share{bits=9}", "share: bits must be between 1 and 8, not 9"),
        ("share{bits=5 bits=6}", "'bits' of share is given twice"),
        ("share{error=nan}", "between 0 and 1"),
        ("share{error=inf}", "between 0 and 1"),
        ("fold{batchnorm=maybe}", "'maybe' in fold{batchnorm=maybe} is not a value of type true or false"),
    ],
)
def test_refuses(text: str, words: str) -> None:
    with pytest.raises(PipelineError, match=words) as refusal:
        parse(text, PASSES)
    assert "\n" not in str(refusal.value)


@given(st.text(alphabet="prunesha{}=,. :()\n05", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        passes = parse(text, PASSES)
    except PipelineError:
        return
    assert parse(to_text(passes, PASSES), PASSES) == passes
