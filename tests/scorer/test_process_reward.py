"""Published reward models' conventions on tiny random models of the same shape."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from s1x.engine.live import run_in_loop
from s1x.errors import SettingError, UserError
from s1x.model.load import load_tokenizer
from s1x.model.model import Model
from s1x.scorer.conventions import CONVENTIONS, marked_text
from s1x.scorer.none import NoScorer
from s1x.scorer.process_reward import ProcessReward
from s1x.scorer.scorer import LiveScorer, Remembered, Scored

SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<extra_0>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QUESTION, STEPS = "what is 2 + 3", ["2 + 3 is near 4", "so 5 <extra_0>"]


def write(folder: Path, head: str) -> Path:
    """A tiny Qwen2 with a byte-level tokenizer and the head of a convention."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2Config,
        Qwen2ForCausalLM,
        Qwen2ForTokenClassification,
    )

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        bos_token="<|endoftext|>",
        additional_special_tokens=SPECIAL,
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(1)
    config = Qwen2Config(
        vocab_size=264,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        num_labels=2,
    )
    made: Any = Qwen2ForTokenClassification if head == "labels" else Qwen2ForCausalLM
    made(config).save_pretrained(folder)
    own = {
        "mlp": {"score.0.weight": (32, 32), "score.0.bias": (32,), "score.2.weight": (2, 32)}
        | {"score.2.bias": (2,)},
        "value": {"v_head.summary.weight": (1, 32), "v_head.summary.bias": (1,)},
        "outcome": {"score.weight": (1, 32)},
    }.get(head, {})
    file = folder / "model.safetensors"
    save_file(load_file(file) | {name: torch.randn(s) for name, s in own.items()}, file)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    heads = {convention.head for convention in CONVENTIONS.values()}
    return {head: write(tmp_path_factory.mktemp(head), head) for head in heads}


def settings_of(folders: dict[str, Path], name: str, **changes: Any) -> ProcessReward:
    given = {"path": str(folders[CONVENTIONS[name].head]), "dtype": "float32", "known": []}
    return ProcessReward(convention=name, **{**given, **changes})


def policy(folders: dict[str, Path]) -> Model:
    return Model(path=str(folders["words"]), dtype="float32")


def traced(folders: dict[str, Path]) -> tuple[list[int], list[int]]:
    """The tokens of the steps, and where each ends."""
    tokenizer = load_tokenizer(policy(folders))
    pieces = [
        list(tokenizer(step + "\n\n", split_special_tokens=True)["input_ids"]) for step in STEPS
    ]
    return [token for piece in pieces for token in piece], [
        len(pieces[0]),
        len(pieces[0]) + len(pieces[1]),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "qwen",
            "<|im_start|>system\nPlease reason step by step, and put your final answer within "
            "\\boxed{}.<|im_end|>\n<|im_start|>user\nwhat is 2 + 3<|im_end|>\n<|im_start|>"
            "assistant\n2 + 3 is near 4<extra_0>so 5 <extra_0><extra_0>",
        ),
        (
            "reasonflux",
            "<|im_start|>user\nwhat is 2 + 3<|im_end|>\n<|im_start|>assistant\n2 + 3 is near 4"
            "<extra_0>so 5 <extra_0><extra_0>",
        ),
        ("skywork", "<|endoftext|>what is 2 + 3\n2 + 3 is near 4\nso 5 <extra_0>\n"),
        (
            "rlhflow",
            "<|im_start|>user\nwhat is 2 + 3 2 + 3 is near 4<|im_end|>\n<|im_start|>assistant\n+"
            "<|im_end|>\n<|im_start|>user\nso 5 <extra_0><|im_end|>\n<|im_start|>assistant\n",
        ),
    ],
)
def test_text_and_places(folders: dict[str, Path], name: str, text: str) -> None:
    """What a trace says is data: a mark spelled in it is no mark."""
    tokenizer = load_tokenizer(policy(folders))
    ids, places = marked_text(CONVENTIONS[name], tokenizer, QUESTION, STEPS)
    assert tokenizer.decode(ids) == text
    assert len(places) == 2
    assert places[-1] == len(ids) - 1
    mark = tokenizer.convert_tokens_to_ids("<extra_0>")
    if "<extra_0>" in CONVENTIONS[name].mark:
        assert [i for i, token in enumerate(ids) if token == mark] == places
    else:
        assert mark not in ids
    if name == "rlhflow":
        assert tokenizer.decode(ids[places[0] + 1]) == "+", "the place before it predicts it"


@pytest.mark.parametrize("name", sorted({*CONVENTIONS} - {"outcome"}))
def test_scores_equal_an_independent_computation(folders: dict[str, Path], name: str) -> None:
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForTokenClassification

    convention, folder = CONVENTIONS[name], folders[CONVENTIONS[name].head]
    ids, ends = traced(folders)
    live = settings_of(folders, name).start(policy(folders))
    found = run_in_loop(live.score(QUESTION, ids, ends))

    tokenizer = load_tokenizer(policy(folders))
    if name == "own_tokens":
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": QUESTION}], tokenize=False, add_generation_prompt=True
        )
        start = tokenizer(prompt + "<|im_start|>think\n")["input_ids"]
        text, places = [*start, *ids], [len(start) + end - 1 for end in ends]
    else:
        text, places = marked_text(convention, tokenizer, QUESTION, STEPS)
    assert found.num_tokens == len(text)
    weights = load_file(folder / "model.safetensors")
    with torch.inference_mode():
        if convention.head in ("mlp", "value"):
            hidden = AutoModel.from_pretrained(folder)(torch.tensor([text])).last_hidden_state[0]
            hidden = hidden[places]
            if convention.head == "value":
                out = hidden @ weights["v_head.summary.weight"].T + weights["v_head.summary.bias"]
                wanted = torch.sigmoid(out[:, 0])
            else:
                inner = torch.relu(hidden @ weights["score.0.weight"].T + weights["score.0.bias"])
                out = inner @ weights["score.2.weight"].T + weights["score.2.bias"]
                wanted = out.softmax(-1)[:, 1]
        elif convention.head == "words":
            logits = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([text])).logits[0]
            good, bad = (tokenizer.convert_tokens_to_ids(word) for word in "+-")
            wanted = logits[places][:, [good, bad]].softmax(-1)[:, 0]
        else:
            net = AutoModelForTokenClassification.from_pretrained(folder)
            wanted = net(torch.tensor([text])).logits[0][places].softmax(-1)[:, 1]
    torch.testing.assert_close(torch.tensor(found.scores), wanted, atol=1e-5, rtol=0)
    assert live.num_parameters > 10_000


def test_what_is_asked_together_is_scored_as_alone(folders: dict[str, Path]) -> None:
    live = settings_of(folders, "qwen").start(policy(folders))
    ids, ends = traced(folders)

    async def together() -> list[Scored]:
        asked = (live.score(QUESTION + "?" * n, ids, ends) for n in range(9))
        return await asyncio.gather(*asked)

    for n, scored in enumerate(run_in_loop(together())):
        alone = run_in_loop(live.score(QUESTION + "?" * n, ids, ends))
        assert scored.scores == pytest.approx(alone.scores, abs=1e-5)


def test_long_traces_are_scored_in_windows_or_refused(folders: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(policy(folders))
    pieces = [list(tokenizer(f"step {n} is here\n\n")["input_ids"]) for n in range(30)]
    ids = [token for piece in pieces for token in piece]
    ends = [sum(map(len, pieces[: n + 1])) for n in range(30)]
    whole = settings_of(folders, "reasonflux").start(policy(folders))
    scores = run_in_loop(whole.score("q", ids, ends)).scores
    short = settings_of(folders, "reasonflux", context_tokens=120).start(policy(folders))
    windowed = run_in_loop(short.score("q", ids, ends))
    assert len(windowed.scores) == 30
    assert windowed.scores[:4] == pytest.approx(scores[:4], abs=1e-5), "the first window is whole"
    strict = settings_of(folders, "reasonflux", context_tokens=120, too_long="refuse")
    with pytest.raises(UserError, match=r"a trace takes \d+ tokens .* context has 120"):
        run_in_loop(strict.start(policy(folders)).score("q", ids, ends))
    tiny = settings_of(folders, "reasonflux", context_tokens=40).start(policy(folders))
    with pytest.raises(UserError, match="take shorter steps"):
        run_in_loop(tiny.score("q", ids, [len(ids)]))
    own = settings_of(folders, "own_tokens", context_tokens=120).start(policy(folders))
    with pytest.raises(UserError, match=r"a trace takes"):
        run_in_loop(own.score("q", ids, ends))


def test_a_scorer_must_tell_right_from_wrong(folders: dict[str, Path]) -> None:
    """Of two traces one scores higher, so one order of them is refused."""
    told = []
    for known in (["q", "aaaa", "bbbb"], ["q", "bbbb", "aaaa"]):
        try:
            live = settings_of(folders, "qwen", known=known).start(policy(folders))
            run_in_loop(live.check())
        except UserError as error:
            told.append(str(error))
    assert len(told) == 1
    assert "scorer.convention=qwen" in told[0]


def test_mistakes_are_told(folders: dict[str, Path]) -> None:
    wrong = settings_of(folders, "skywork", path=str(folders["words"]))
    with pytest.raises(UserError, match=r"no weights v_head\.summary\.\*"):
        wrong.start(policy(folders))
    with pytest.raises(SettingError, match="convention"):
        ProcessReward(path="x", convention="mine")
    with pytest.raises(SettingError, match="scores are classes"):
        settings_of(folders, "skywork", base_urls=["http://localhost:1"])
    with pytest.raises(UserError, match="this budget policy needs scores"):
        NoScorer().start(policy(folders))


class Pooling(BaseHTTPRequestHandler):
    """vLLM's `/pooling`: two classes for each token; `rows` makes it pool otherwise."""

    rows: int | None = None

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert (self.path, asked["task"]) == ("/pooling", "token_classify")
        count = self.rows or len(asked["input"])
        data = [[1 - n / 1000, n / 1000] for n in range(count)]
        body = json.dumps({"data": [{"data": data}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def pooling() -> Iterator[str]:
    Pooling.rows = None
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pooling)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_server_scores_at_the_marks(folders: dict[str, Path], pooling: str) -> None:
    quick = {"max_tries": 1, "base_urls": [pooling]}
    live = settings_of(folders, "qwen", **quick).start(policy(folders))
    ids, ends = traced(folders)
    found = run_in_loop(live.score(QUESTION, ids, ends))
    _, places = marked_text(CONVENTIONS["qwen"], load_tokenizer(policy(folders)), QUESTION, STEPS)
    assert found.scores == tuple(place / 1000 for place in places)
    Pooling.rows = 3
    with pytest.raises(UserError, match="3 scores for"):
        run_in_loop(live.score(QUESTION, ids, ends))
    live.close()


class Counted(LiveScorer):
    """Counts how often it is asked."""

    name, num_parameters = "counted", 7

    def __init__(self) -> None:
        self.asked = 0

    async def score(self, question: str, ids: Any, ends: Any) -> Scored:
        self.asked += 1
        return Scored(tuple(0.1 * n for n in range(len(ends))), len(ids))


def test_scores_are_remembered_by_trace_and_steps(tmp_path: Path) -> None:
    counted = Counted()
    for _ in range(2):  # a second process finds them too
        live = Remembered(counted, tmp_path)
        first = run_in_loop(live.score("q", [1, 2, 3], [1, 3]))
        assert (first.scores, first.num_tokens, live.num_parameters) == ((0.0, 0.1), 3, 7)
    assert counted.asked == 1
    for question, ids, ends in (
        ("p", [1, 2, 3], [1, 3]),
        ("q", [1, 2, 4], [1, 3]),
        ("q", [1, 2, 3], [3]),
    ):
        run_in_loop(live.score(question, ids, ends))
    assert counted.asked == 4


def test_an_outcome_reward_model_scores_the_whole_reply(folders: dict[str, Path]) -> None:
    """As transformers' own class for one value behind the last token has it."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = folders["outcome"]
    scorer = settings_of(folders, "outcome").start(policy(folders))
    assert scorer.scores_whole
    ids, ends = traced(folders)
    found = run_in_loop(scorer.score(QUESTION, ids, ends))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    reply = "".join(step + "\n\n" for step in STEPS).replace("<extra_0>", "<extra_1>")
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": reply}],
        tokenize=False,
    )
    assert text.endswith("<|im_end|>\n")
    theirs = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    assert found.num_tokens == len(theirs)
    own = _ids_of(folders, reply)
    plain = run_in_loop(scorer.score(QUESTION, own, [len(own)]))
    net = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, pad_token_id=tokenizer.pad_token_id
    ).eval()
    with torch.inference_mode():
        wanted = torch.sigmoid(net(torch.tensor([theirs])).logits)[0, 0].item()
    assert plain.scores == (pytest.approx(wanted, abs=1e-5),)
    assert len(found.scores) == 1


def _ids_of(folders: dict[str, Path], text: str) -> list[int]:
    return list(load_tokenizer(policy(folders))(text, add_special_tokens=False)["input_ids"])
