"""Packed, padded and single samples give the same loss; so do all ways to take it."""

from __future__ import annotations

import inspect
import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from tiny_llama import rows, tiny_config, tiny_tokenizer
from torch.utils._python_dispatch import TorchDispatchMode

from s1x.model.model import Model
from s1x.train.batches import Step
from s1x.train.rank import attention as attention_module
from s1x.train.rank.attention import NAME, packed_attention, packing_arguments, register
from s1x.train.rank.loss import LossModel, put_loss_in_head
from s1x.train.rank.passes import IGNORED, Pass, Passes
from s1x.train.rank.recompute import checkpointing
from s1x.train.samples import SampleSet, build_samples

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def samples(tiny_model: Model) -> SampleSet:
    return build_samples(tiny_tokenizer(), tiny_model, rows(6))


def make_net(attention: str = NAME, logits: str = "full") -> LossModel:
    from transformers import LlamaForCausalLM

    register()
    torch.manual_seed(0)
    model = LlamaForCausalLM(tiny_config())
    model.set_attn_implementation(attention)
    put_loss_in_head(model, logits, chunk_tokens=7)
    return LossModel(model)


def one_pass(samples: SampleSet, share: list[int], **how: Any) -> Pass:
    [found] = Passes(samples, [Step(0, [[share]])], 0, **how)
    return found


def loss_of(net: LossModel, batch: Pass, attention: str = NAME) -> torch.Tensor:
    packing = {}
    if batch["attention_mask"] is None:
        packing = packing_arguments(batch["lengths"], attention, CPU)
    return net(batch, packing)


def gradients(net: LossModel) -> list[torch.Tensor]:
    found = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    return found


@pytest.mark.parametrize("attention", [NAME, "sdpa"])
def test_packed_equals_single(samples: SampleSet, attention: str) -> None:
    net = make_net(attention)
    packed = loss_of(net, one_pass(samples, [0, 1, 2, 3]), attention)
    packed.backward()
    together = gradients(net)
    alone = sum(loss_of(net, one_pass(samples, [i]), attention) for i in range(4))
    assert isinstance(alone, torch.Tensor)
    alone.backward()
    assert packed.item() == pytest.approx(alone.item(), rel=1e-6)
    for one, other in zip(together, gradients(net), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_packed_logits_equal_plain_transformers(samples: SampleSet) -> None:
    net, plain = make_net(), make_net("sdpa").causal_lm
    batch = one_pass(samples, [2, 5])
    hidden = net.causal_lm.base_model(
        input_ids=batch["token_ids"],
        position_ids=batch["position_ids"],
        use_cache=False,
        **packing_arguments(batch["lengths"], NAME, CPU),
    ).last_hidden_state
    logits = net.causal_lm.lm_head(hidden)[0]
    alone = [plain(torch.tensor([samples[i].token_ids])).logits[0] for i in (2, 5)]
    torch.testing.assert_close(logits, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_varlen_attention_gets_what_torch_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU all samples go in one call of `varlen_attn`; here a stand-in of its signature."""
    signature = inspect.signature(attention_module.varlen_attn)
    seen: list[dict[str, Any]] = []

    def stand_in(*args: Any, **named: Any) -> torch.Tensor:
        found = signature.bind(*args, **named).arguments
        seen.append(found)
        assert found["window_size"] == (-1, 0), "causal, as torch's documentation says"
        assert found["enable_gqa"]
        assert found["query"].is_contiguous()
        assert found["key"].shape[1] == 2, "keys are not repeated"
        assert found["max_q"] == found["max_k"] == 7
        ends = found["cu_seq_q"]
        assert ends.dtype == torch.int32
        parts = []
        for start, end in itertools.pairwise(ends.tolist()):
            q, k, v = (found[name][start:end].transpose(0, 1) for name in ("query", "key", "value"))
            out = torch.nn.functional.scaled_dot_product_attention(
                q, k, v, is_causal=True, scale=found["scale"], enable_gqa=True
            )
            parts.append(out.transpose(0, 1))
        return torch.cat(parts)

    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 15, 16) for heads in (4, 2, 2))
    packing = packing_arguments([5, 7, 3], NAME, CPU)
    arguments = {"scaling": 0.3, **packing}
    module = torch.nn.Module()
    one_by_one, _ = packed_attention(module, query, key, value, None, **arguments)  # type: ignore
    assert not seen, "on a processor each sample has its own call"
    monkeypatch.setattr(attention_module, "varlen_attn", stand_in)
    monkeypatch.setattr(attention_module, "takes_varlen", lambda _: True)
    at_once, _ = packed_attention(module, query, key, value, None, **arguments)  # type: ignore
    assert len(seen) == 1
    assert at_once.shape == one_by_one.shape == (1, 15, 4, 16)
    torch.testing.assert_close(at_once, one_by_one)


def test_padded_equals_packed(samples: SampleSet) -> None:
    net = make_net("sdpa")
    packed = loss_of(net, one_pass(samples, [0, 3, 5]), "sdpa")
    padded = loss_of(net, one_pass(samples, [0, 3, 5], pad_id=258), "sdpa")
    assert packed.item() == pytest.approx(padded.item(), rel=1e-6)


def test_loss_counts_the_trained_tokens_only(samples: SampleSet) -> None:
    net = make_net()
    batch = one_pass(samples, [1, 4])
    trained = int((batch["targets"] != IGNORED).sum())
    assert trained == samples[1].trained_tokens + samples[4].trained_tokens
    changed: Pass = {**batch, "targets": batch["targets"].clone()}
    changed["targets"][0, -1] = IGNORED  # the last position predicts nothing
    assert torch.equal(loss_of(net, batch), loss_of(net, changed))


def test_targets_are_the_next_tokens(samples: SampleSet) -> None:
    sample = samples[3]
    batch = one_pass(samples, [3])
    targets = batch["targets"][0].tolist()
    first = sample.prompt_tokens - 1
    assert targets[:first] == [IGNORED] * first
    assert targets[first:-1] == sample.token_ids[sample.prompt_tokens :]
    assert targets[-1] == IGNORED


@pytest.mark.parametrize("logits", ["chunked", "torch"])
def test_ways_to_take_the_loss_agree(samples: SampleSet, logits: str) -> None:
    batch = one_pass(samples, [0, 1, 2, 3, 4, 5])
    found = []
    for way in ("full", logits):
        net = make_net(logits=way)
        loss = loss_of(net, batch)
        loss.backward()
        found.append((loss.item(), gradients(net)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_an_empty_pass_reaches_every_weight_with_nothing(samples: SampleSet) -> None:
    net = make_net()
    loss = loss_of(net, one_pass(samples, []))
    loss.backward()
    found = gradients(net)
    assert loss.item() == 0.0
    assert len(found) == len(list(net.parameters()))
    assert not any(g.any() for g in found)


class Counted(TorchDispatchMode):
    """Counts the operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func.name()] += 1
        return func(*args, **(kwargs or {}))


def test_what_is_spared_is_not_computed_again(samples: SampleSet) -> None:
    grads, counts = {}, {}
    for spares in ("none of it", "nothing", "attention", "products"):
        net = make_net()
        net.train()
        if spares != "none of it":
            net.causal_lm.gradient_checkpointing_enable(checkpointing(spares))
        with Counted() as counted:
            loss_of(net, one_pass(samples, [0, 1])).backward()
        grads[spares], counts[spares] = gradients(net), counted.counts
    attention = "aten::_scaled_dot_product_flash_attention_for_cpu"
    layers, lengths = 2, 2
    assert [counts[spares][attention] for spares in counts] == [
        layers * lengths,
        2 * layers * lengths,
        layers * lengths,
        layers * lengths,
    ]
    assert counts["products"]["aten::mm"] == counts["none of it"]["aten::mm"]
    assert counts["attention"]["aten::mm"] > counts["products"]["aten::mm"]
    for spares in ("nothing", "attention", "products"):
        for one, other in zip(grads["none of it"], grads[spares], strict=True):
            assert torch.equal(one, other), "kept or computed again, it is the same"
