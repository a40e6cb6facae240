"""The draw over domains: s1's notebook, rule for rule (paper, section 2.2 "Diversity")."""

from __future__ import annotations

import bisect
import itertools
import random
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from s1x.option import Option, option, setting
from s1x.selection.domains import rows_of_domains
from s1x.selection.step import Drops, Rows, Step, wanted_size
from s1x.selection.tokens import trace_tokens


@dataclass(frozen=True)
class Trusted(Option):
    """Rows that are taken before the draw."""

    source: str = setting(doc="part of the source's name, in any case")
    min_trace_tokens: int = setting(0, "the trace must be longer than this", at_least=0)


@dataclass(frozen=True)
class BenchmarkSource(Option):
    """Rows of the pool whose domains stand for a benchmark's."""

    source: str = setting(doc="part of the source's name, in any case")
    share: float | None = setting(
        None, "scale its counts to this share of the first source's; null: as they are", above=0
    )


@option("selection_step", "domain_draw")
@dataclass(frozen=True)
class DomainDraw(Step):
    """Draws a domain, then a row of it, until there are enough.

    First every row of a trusted source whose attempt is right is taken. Then a domain is drawn:
    uniformly while fewer than `uniform_share` of the size are chosen, after that with the weights
    of the benchmarks' domains. In it the row of rank r by trace length (0 the longest) is drawn
    with weight `length_bias` ** -r and removed; an empty domain leaves the draw. As in the notebook
    trusted rows stay in their domain's list, so drawing one adds nothing.

    The benchmarks' domains are those of the pool's rows of the same source (`benchmark_sources`:
    AIME, and GPQA scaled to half of AIME); a pool without them takes the domains of the run's
    benchmarks, a benchmark each as one; without these too the draw stays uniform. The dataset card
    says which.
    """

    size: int | None = setting(None, "rows to draw; null: selection.size", at_least=1)
    trusted: list[Trusted] = setting(factory=list, doc="sources taken before the draw")
    uniform_share: float = setting(
        1.0, "share of the size that is drawn uniformly over domains", at_least=0, at_most=1
    )
    benchmark_sources: list[BenchmarkSource] = setting(
        factory=list, doc="sources that give the weights of domains afterwards"
    )
    length_bias: float = setting(
        1.0, "how much likelier a trace is than the next shorter one", at_least=1
    )
    num_domains: int | None = setting(None, "only the N largest domains", at_least=1)
    chooses: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, kind in (("trusted", Trusted), ("benchmark_sources", BenchmarkSource)):
            rules = [kind(**r) if isinstance(r, dict) else r for r in getattr(self, name)]
            object.__setattr__(self, name, rules)

    def __call__(self, rows: Rows) -> Drops:
        size = wanted_size(self.size, rows)
        if size is None:
            return Drops()
        lists = Lists(rows, self.length_bias, self.num_domains)
        trusted = self._trusted_rows(rows)
        chosen = dict.fromkeys(trusted[:size])
        if self.trusted:
            rows.context.note(f"domain_draw: {len(chosen)} rows of trusted sources taken first")
        report = {"trusted_rows": len(trusted), "domains": len(lists.left)}
        self._draw(rows, lists, chosen, size, rows.random())
        wanted_size(size, rows, len(chosen))
        drops = rows.keep_rows(chosen, "not drawn")
        drops.report = report
        return drops

    def _draw(
        self, rows: Rows, lists: Lists, chosen: dict[int, None], size: int, rng: random.Random
    ) -> None:
        weights: dict[str, float] | None = None
        while len(chosen) < size and lists.left:
            if weights is None and len(chosen) >= self.uniform_share * size:
                weights = self._weights(rows)
            domain = lists.pick(rng, weights if len(chosen) >= self.uniform_share * size else None)
            chosen[lists.take(domain, rng)] = None

    def _trusted_rows(self, rows: Rows) -> list[int]:
        if not self.trusted or not rows.has("source") or not rows.has("attempt_is_correct"):
            return []
        is_right = pl.col("attempt_is_correct").cast(pl.Boolean).fill_null(False)
        frame = rows.frame(["source", "attempt_is_correct"]).filter(is_right)
        taken: set[int] = set()
        for rule in self.trusted:
            own = frame.filter(_is_from(rule.source))
            if rule.min_trace_tokens and own.height:
                lengths = pl.DataFrame({"row": rows.numbers, "tokens": trace_tokens(rows)})
                own = own.join(lengths, on="row").filter(pl.col("tokens") > rule.min_trace_tokens)
            taken.update(own["row"])
        return sorted(taken)

    def _weights(self, rows: Rows) -> dict[str, float]:
        if not rows.has("domain"):
            return _benchmark_weights(rows, set())
        total: Counter[str] = Counter()
        first = 0
        for rule in self.benchmark_sources if rows.has("source") else []:
            frame = rows.frame(["domain", "source"]).filter(_is_from(rule.source))
            counts = Counter(frame["domain"].drop_nulls())
            number = sum(counts.values())
            first = first or number
            scale = 1.0 if rule.share is None else rule.share * first / max(number, 1)
            for domain, count in counts.items():
                total[domain] += int(count * scale)
        if total:
            return {d: float(n) for d, n in total.items() if n}
        return _benchmark_weights(rows, set(rows.frame(["domain"])["domain"]))


def _is_from(part: str) -> pl.Expr:
    """Whether the name of a row's source contains `part`, in any case."""
    names = pl.col("source").str.to_lowercase()
    return names.str.contains(part.lower(), literal=True).fill_null(False)


def _benchmark_weights(rows: Rows, domains: set[str]) -> dict[str, float]:
    """Weights by the domains of the run's benchmarks, each benchmark counting as much."""
    weights: dict[str, float] = {}
    for problems in rows.context.benchmarks.values():
        counts = Counter(p.domain for p in problems if p.domain in domains)
        for domain, count in counts.items():
            weights[domain] = weights.get(domain, 0) + count / sum(counts.values())
    if weights:
        rows.context.note(
            "domain_draw: later draws weighted by the domains of the run's benchmarks"
        )
    else:
        rows.context.note(
            "domain_draw: no benchmark shares a domain with the pool; uniform to the end"
        )
    return weights


class Lists:
    """Each domain's rows that can still be drawn, the longest trace last."""

    def __init__(self, rows: Rows, length_bias: float, max_domains: int | None) -> None:
        self.length_bias = length_bias
        domains = rows_of_domains(rows)
        if max_domains is not None:
            largest = sorted(domains, key=lambda d: (-len(domains[d]), d))[:max_domains]
            domains = {d: domains[d] for d in largest}
        if length_bias > 1:
            tokens = dict(zip(rows.numbers, trace_tokens(rows), strict=True))
            for own in domains.values():
                own.sort(key=lambda row: (tokens[row], -row))
        self.left = {domain: domains[domain] for domain in sorted(domains)}

    def pick(self, rng: random.Random, weights: dict[str, float] | None) -> str:
        """A domain that has rows left: uniform, or by weight while a weighted one has any."""
        names = list(self.left)
        weighted = [n for n in names if weights and n in weights]
        if not weighted or weights is None:
            return names[int(rng.random() * len(names))]
        sums = list(itertools.accumulate(weights[n] for n in weighted))
        return weighted[min(bisect.bisect_right(sums, rng.random() * sums[-1]), len(sums) - 1)]

    def take(self, domain: str, rng: random.Random) -> int:
        """Removes and gives one row of the domain, drawn by the rank of its trace's length."""
        own = self.left[domain]
        row = own.pop(len(own) - 1 - draw_rank(len(own), self.length_bias, rng))
        if not own:
            del self.left[domain]
        return row


def draw_rank(count: int, bias: float, rng: random.Random) -> int:
    """A rank below `count` with weight bias ** -rank."""
    if bias == 1:
        return int(rng.random() * count)
    ratio = 1 / bias
    target = rng.random() * (1 - ratio**count)
    rank, power = 0, ratio
    while rank < count - 1 and 1 - power <= target:
        rank += 1
        power *= ratio
    return rank
