"""The transformers engine: continuous batching over a Hugging Face causal LM, on CPU or GPU.

Each step feeds one token of every sequence in flight; what is new in a prefix and longer than a
few tokens is computed in a batch of its own first. A sequence that continues an earlier one, or
forks from one, takes over its keys and values (`s1x.engine.kv_rows`): a segment after "Wait" costs
the forced tokens only, and so does an answer asked for at any budget.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel

from s1x.engine.draw import draw, sampleable_ids, uniform
from s1x.engine.engine import Identity, LiveEngine, OnTokens, Request, Writing
from s1x.engine.kv_rows import KeyValueRows, RowsView
from s1x.engine.transformers import Transformers
from s1x.errors import UserError
from s1x.model.load import load_causal_lm, load_tokenizer
from s1x.model.model import Model
from s1x.traces.confidence import NUM_LIKELIEST, Confidence, confidence_rows

_ATTENTION = "s1x_rows"
#: a prefix with at most N new tokens is fed along with the others, token by token, unless a pass of
#: their own costs less
_FEED_TOKENS, _PASS_TOKENS = 6, 48
#: rows of one call of attention, and the steps after which rows may be sorted by length again:
#: a call reads as many tokens of each row as its longest row has
_CHUNK_ROWS, _SORT_STEPS = 32, 24
#: passes of the event loop between two steps, so that policies can answer to what was written
_YIELDS = 6
#: new tokens that are computed in a thread, while the loop does other things (keeps streams alive)
_LONG_TOKENS = 1024


def start(settings: Transformers, model: Model) -> LiveEngine:
    """Loads weights and tokenizer."""
    device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = settings.dtype or (model.dtype if device != "cpu" else "float32")
    AttentionInterface.register(_ATTENTION, _attend)
    network = load_causal_lm(model, dtype, _ATTENTION)
    _check_architecture(network.config)
    allowed = sampleable_ids(load_tokenizer(model), network.config.vocab_size)
    torch.nn.Module.to(network, device)
    return TransformersEngine(
        network.eval(),  # type: ignore[no-untyped-call]
        allowed,
        context_tokens=model.context_tokens,
        settings=settings,
        identity={"engine": "transformers", "device": device, "dtype": dtype},
    )


@dataclass(eq=False, kw_only=True)
class _Sequence(Writing):
    """A request in flight, and what must still be fed to the model."""

    done: asyncio.Future[None]
    pending: list[int] = field(default_factory=list)


class TransformersEngine(LiveEngine):
    """See the module. Works in the event loop's own thread, but for the computing of long prefixes.

    Args:
        network: a causal LM whose attention is `s1x_rows`.
        allowed: (vocabulary,) booleans: ids that may be sampled.
        context_tokens: longest sequence.
        settings: batch size and memory.
        identity: see `LiveEngine`.
    """

    keeps_samples = True

    def __init__(
        self,
        network: PreTrainedModel,
        allowed: torch.Tensor,
        context_tokens: int,
        settings: Transformers,
        identity: Identity,
    ) -> None:
        super().__init__()
        self.usage.computed_prompt_tokens = 0
        self.network, self.settings, self.identity = network, settings, identity
        self.max_sequences = settings.batch_size
        config = network.config
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        weights = next(network.parameters())
        self.banned = (~allowed).to(weights.device) if not bool(allowed.all()) else None
        self.rows = KeyValueRows(
            (config.num_hidden_layers, config.num_key_value_heads, head),
            max_rows=2 * settings.batch_size,
            max_tokens=context_tokens,
            max_bytes=int(settings.cache_gib * 2**30),
            dtype=weights.dtype,
            device=weights.device,
        )
        self.context_tokens = context_tokens
        self.active: list[_Sequence] = []
        self.queue: deque[_Sequence] = deque()
        self._driver: asyncio.Task[None] | None = None
        self._steps_unsorted = 0

    async def generate(self, request: Request, on_tokens: OnTokens) -> None:
        total = len(request.prefix_ids) + request.max_tokens
        assert request.prefix_ids, "a prefix has one token at least"
        assert total <= self.context_tokens, (total, self.context_tokens)
        loop = asyncio.get_running_loop()
        sequence = _Sequence(request, on_tokens, done=loop.create_future())
        self.queue.append(sequence)
        if self._driver is None or self._driver.done():
            self._driver = loop.create_task(self._drive())
        self.usage.calls += 1
        self.usage.prompt_tokens += len(request.prefix_ids)
        await sequence.done

    async def _drive(self) -> None:
        try:
            while self.queue or self.active:
                await self.step()
                for _ in range(_YIELDS):
                    if not (self.queue or self.active):
                        return  # now, since nobody may run the loop again
                    await asyncio.sleep(0)
        except BaseException as error:
            for sequence in (*self.active, *self.queue):
                if not sequence.done.done():
                    sequence.done.set_exception(
                        error if isinstance(error, Exception) else RuntimeError("engine stopped")
                    )
            self.active, self.queue = [], deque()
            if not isinstance(error, Exception):
                raise

    async def step(self) -> None:
        """Admits what fits, computes new prefixes, and feeds one token of every sequence."""
        first = self._admit()
        if sum(len(sequence.pending) for sequence in self.active[first:]) > _LONG_TOKENS:
            await asyncio.to_thread(self._prefill, first)
        else:
            self._prefill(first)
        self._decode()

    # -- admission --------------------------------------------------------------------------------

    @torch.inference_mode()
    def _admit(self) -> int:
        """Moves requests from the queue into rows, those with most to compute first.

        Returns:
            The first of their rows. Before them, those that nobody waits for have left theirs.
        """
        for row in reversed(range(len(self.active))):
            if self.active[row].done.done():
                self._leave(row)
        begun = len(self.active)
        while self.queue and len(self.active) < min(self.settings.batch_size, self.rows.num_rows):
            if self.queue[0].done.done():  # cancelled
                self.queue.popleft()
                continue
            request = self.queue[0].request
            length = len(request.prefix_ids)
            self.rows.grow(min(length + request.max_tokens, length + 64), len(self.active))
            if len(self.active) < self.rows.num_rows:  # rows that grow become fewer
                self._place(self.queue.popleft())
        self._longest_first(begun)
        return begun

    def _place(self, sequence: _Sequence) -> None:
        """Gives a sequence the row after the last active one, with what the cache has of it."""
        rows, place = self.rows, len(self.active)
        prefix = np.asarray(sequence.request.prefix_ids, dtype=np.int32)
        source, shared = rows.common_prefix(prefix[:-1])
        if source >= place and rows.length[source] - shared <= _FEED_TOKENS:
            rows.swap(source, place)  # the sequence itself, going on
            rows.length[place] = shared
        else:
            victim = rows.oldest(place, spared=source)
            if victim != place:
                if source == place:
                    source = victim
                rows.swap(victim, place)
            rows.copy(source, place, shared)
        if sequence.request.on_cached is not None:
            sequence.request.on_cached(shared)
        rows.touch(place)
        sequence.pending = prefix[shared:].tolist()
        assert self.usage.computed_prompt_tokens is not None
        self.usage.computed_prompt_tokens += len(sequence.pending)
        self.active.append(sequence)

    def _longest_first(self, first: int) -> None:
        """Sorts the rows from `first` on so that those with most to compute stand together."""
        for place in range(first, len(self.active) - 1):
            longest = max(
                range(place, len(self.active)), key=lambda row: len(self.active[row].pending)
            )
            if len(self.active[longest].pending) <= _FEED_TOKENS + 1:
                return
            if len(self.active[longest].pending) > len(self.active[place].pending):
                self._swap(place, longest)

    def _swap(self, a: int, b: int) -> None:
        self.rows.swap(a, b)
        self.active[a], self.active[b] = self.active[b], self.active[a]

    # -- computing --------------------------------------------------------------------------------

    @torch.inference_mode()
    def _prefill(self, first: int) -> None:
        """Computes all pending tokens but the last, where a pass of their own pays."""
        rows = range(first, len(self.active))
        most = self.settings.prefill_tokens

        def new(row: int) -> int:
            return len(self.active[row].pending) - 1

        few = [new(row) for row in rows if 0 < new(row) <= _FEED_TOKENS]
        spared = _FEED_TOKENS if sum(few) < _PASS_TOKENS else 0
        while many := [r for r in rows if new(r) > spared and not self.active[r].done.done()]:
            longest = max(map(new, many))
            width = min(longest, most)
            alike = [row for row in many if longest <= _FEED_TOKENS or 2 * new(row) >= width]
            group = alike[: max(1, most // width)]
            self._forward(group[0], group[-1] + 1, width)

    @torch.inference_mode()
    def _decode(self) -> None:
        if not self.active:
            return
        self._sort()
        logits = self._forward(0, len(self.active), 1)
        assert logits is not None
        chosen = self._choose(logits)
        confidence = self._confidence(logits, chosen)
        for row in reversed(range(len(self.active))):
            sequence = self.active[row]
            if not sequence.pending and self._write(sequence, chosen[row], confidence.get(row)):
                self._leave(row)

    def _confidence(self, logits: torch.Tensor, chosen: list[int]) -> dict[int, Confidence]:
        """Row → (1, 4): how sure the model was, for the sequences of which it is asked."""
        asked = [
            row
            for row, sequence in enumerate(self.active)
            if sequence.request.on_confidence is not None and not sequence.pending
        ]
        if not asked:
            return {}
        own = logits if len(asked) == len(logits) else logits[asked]
        own = own.float().log_softmax(-1)
        written = torch.tensor([chosen[row] for row in asked], device=own.device)
        likeliest, ids = own.topk(min(NUM_LIKELIEST, own.shape[-1]))
        log_probs = own.gather(1, written[:, None])[:, 0]
        end_ids = self.active[asked[0]].request.end_ids
        values = confidence_rows(
            log_probs.cpu().numpy(), likeliest.cpu().numpy(), ids.cpu().numpy(), end_ids
        )
        return {row: values[i : i + 1] for i, row in enumerate(asked)}

    def _leave(self, row: int) -> None:
        """A sequence has ended, or nobody waits for it: its row is parked."""
        sequence, last = self.active[row], len(self.active) - 1
        if sequence.request.may_go_on:
            self.rows.swap(row, last)
        else:
            self.rows.drop(row, last)
        self.active[row] = self.active[last]
        self.active.pop()
        if not sequence.done.done():
            sequence.done.set_result(None)

    def _sort(self) -> None:
        """Brings rows of like length together where much would be read in vain."""
        self._steps_unsorted += 1
        lengths = self.rows.length[: len(self.active)]
        uneven = lengths.mean() < 0.75 * lengths.max()
        if self._steps_unsorted >= _SORT_STEPS and len(lengths) > _CHUNK_ROWS and uneven:
            order: list[int] = lengths.argsort(kind="stable").tolist()
            self.rows.reorder(order)
            self.active = [self.active[row] for row in order]
            self._steps_unsorted = 0

    def _write(self, sequence: _Sequence, token: int, confidence: Confidence | None) -> bool:
        """Hands a token on; True: the request is done."""
        sequence.pending.append(token)
        self.usage.generated_tokens += 1
        sequence.take((token,), confidence)
        return sequence.is_done

    def _forward(self, first: int, last: int, width: int) -> torch.Tensor | None:
        """Feeds up to `width` pending tokens of the rows; (rows, vocabulary) logits for width 1."""
        active, rows = self.active[first:last], self.rows
        taken = [
            s.pending[: width if width == 1 else min(width, len(s.pending) - 1)] for s in active
        ]
        rows.grow(int(rows.length[first:last].max()) + width, len(self.active))
        lengths = rows.length[first:last]
        fed = np.zeros((len(active), width), dtype=np.int64)
        for i, ids in enumerate(taken):
            fed[i, : len(ids)] = ids
            begin = int(lengths[i])
            rows.ids[first + i, begin : begin + len(ids)] = ids
            active[i].pending = active[i].pending[len(ids) :]
        positions = lengths[:, None] + np.arange(width)[None, :]
        seen = int(lengths.max()) + width
        rows.length[first:last] += np.array([len(ids) for ids in taken])
        device = rows.device
        where = torch.from_numpy(positions).to(device)
        mask = (torch.arange(seen, device=device) <= where[:, :, None])[:, None]
        body = self.network if width == 1 else self.network.get_decoder()  # type: ignore[no-untyped-call]
        output = body(
            input_ids=torch.from_numpy(fed).to(device),
            attention_mask=mask,
            position_ids=where,
            past_key_values=RowsView(rows, first, last, where, seen),
            use_cache=True,
            row_chunks=_chunks(positions[:, -1] + 1) if width == 1 else [],
        )
        return output.logits[:, -1] if width == 1 else None

    def _choose(self, logits: torch.Tensor) -> list[int]:
        """The next id of each active row."""
        logits = logits.float()
        if self.banned is not None:
            logits = logits.masked_fill(self.banned, float("-inf"))
        bans = {
            row: list(sequence.request.ban_first)
            for row, sequence in enumerate(self.active)
            if sequence.request.ban_first and not sequence.written
        }
        if bans:  # others read the logits as they are
            logits = logits.clone()
        for row, ids in bans.items():
            logits[row, ids] = float("-inf")
        chosen: list[int] = logits.argmax(-1).tolist()
        sampled = [r for r, s in enumerate(self.active) if not s.request.sampling.greedy]
        if sampled:
            for row, token in zip(sampled, self._draw(logits, sampled), strict=True):
                chosen[row] = token
        return chosen

    def _draw(self, logits: torch.Tensor, sampled: list[int]) -> list[int]:
        ways = [self.active[row].request.sampling for row in sampled]
        seeds = np.array([way.seed for way in ways], dtype=np.uint64)
        numbers = uniform(seeds, self.rows.length[sampled])
        device = logits.device
        drawn: list[int] = draw(
            logits[sampled],
            torch.tensor([way.temperature for way in ways], device=device),
            torch.tensor([way.top_p for way in ways], device=device),
            torch.from_numpy(numbers).to(device),
        ).tolist()
        return drawn

    def close(self) -> None:
        del self.network, self.rows


def _chunks(lengths: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Rows in chunks with the length of each chunk's longest row; none where one is as good."""
    starts = range(0, len(lengths), _CHUNK_ROWS)
    chunks = [
        (a, min(a + _CHUNK_ROWS, len(lengths)), int(lengths[a : a + _CHUNK_ROWS].max()))
        for a in starts
    ]
    looked_at = sum((b - a) * t for a, b, t in chunks)
    return chunks if looked_at < 0.9 * len(lengths) * int(lengths.max()) else []


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None = None,
    row_chunks: Sequence[tuple[int, int, int]] = (),
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Grouped-query attention without repeated keys, for transformers' table.

    (B, heads, Q, D) queries, (B, H, T, D) keys and values, a (B, 1, Q, T) mask.

    The heads of one key-value head are laid side by side as queries, so keys are never repeated.
    `row_chunks` are (first row, last row, tokens): rows that are computed together, and how much of
    the keys they look at.
    """
    attend = torch.nn.functional.scaled_dot_product_attention
    batch, heads, width, size = query.shape
    groups = heads // key.shape[1]
    laid = query.reshape(batch, key.shape[1], groups * width, size)
    if width > 1 and groups > 1:
        attention_mask = attention_mask.repeat(1, 1, groups, 1)
    parts = [
        attend(
            laid[a:b],
            key[a:b, :, :t],
            value[a:b, :, :t],
            attn_mask=attention_mask[a:b, :, :, :t],
            scale=scaling,
        )
        for a, b, t in row_chunks or [(0, batch, key.shape[2])]
    ]
    out = torch.cat(parts) if len(parts) > 1 else parts[0]
    return out.reshape(batch, heads, width, -1).transpose(1, 2).contiguous(), None


def _check_architecture(config: PreTrainedConfig) -> None:
    """Refuses models whose layers do not all attend to the whole sequence.

    Raises:
        UserError: sliding-window, recurrent or encoder layers.
    """
    windows = ("sliding_window", "attention_chunk_size")
    has_window = any(getattr(config, name, None) for name in windows)
    default = ["sliding_attention" if has_window else "full_attention"]
    kinds = set(getattr(config, "layer_types", None) or default)
    if kinds != {"full_attention"} or getattr(config, "num_key_value_heads", None) is None:
        raise UserError(
            f"engine=transformers runs models with full attention in every layer, "
            f"{type(config).__name__} has {', '.join(sorted(kinds))}; use engine=vllm"
        )
