"""The draw over domains: s1's notebook, rule for rule (paper, section 2.2 "Diversity")."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from s1x.option import Option, option, setting
from s1x.selection.domain_cap import rows_of_domains
from s1x.selection.step import Drops, Rows, Step, wanted_size
from s1x.selection.tokens import count_traces


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
        trusted = [Trusted(**r) if isinstance(r, dict) else r for r in self.trusted]
        object.__setattr__(self, "trusted", trusted)
        sources = self.benchmark_sources
        sources = [BenchmarkSource(**r) if isinstance(r, dict) else r for r in sources]
        object.__setattr__(self, "benchmark_sources", sources)

    def __call__(self, rows: Rows) -> Drops:
        if self.size is None and rows.context.size is None:
            return Drops()
        size = wanted_size(self.size, rows)
        domains = rows_of_domains(rows, by_length=self.length_bias > 1)
        largest = sorted(domains, key=lambda d: (-len(domains[d]), d))[: self.num_domains]
        left = {name: own for name, own in domains.items() if name in largest}
        trusted = self._trusted_rows(rows)
        chosen = dict.fromkeys(trusted[:size])
        if self.trusted:
            rows.context.note(f"domain_draw: {len(chosen)} rows of trusted sources taken first")
        report: dict[str, object] = {"trusted_rows": len(trusted), "domains": len(left)}
        rng = rows.random()
        weights: Mapping[str, float] = {}
        is_uniform = True
        while len(chosen) < size and left:
            if is_uniform and len(chosen) >= self.uniform_share * size:
                is_uniform, weights = False, self._weights(rows)
            weighted = [name for name in left if name in weights]
            name = rng.choices(weighted or list(left), [weights[n] for n in weighted] or None)[0]
            chosen[left[name].pop(-1 - draw_rank(len(left[name]), self.length_bias, rng))] = None
            if not left[name]:
                del left[name]
        wanted_size(size, rows, len(chosen))
        drops = rows.keep_rows(chosen, "not drawn")
        drops.report = report
        return drops

    def _trusted_rows(self, rows: Rows) -> list[int]:
        if not self.trusted or not rows.has("source", "attempt_is_correct"):
            return []
        is_right = pl.col("attempt_is_correct").cast(pl.Boolean).fill_null(False)
        frame = rows.frame(["source", "attempt_is_correct"]).filter(is_right)
        taken: set[int] = set()
        for rule in self.trusted:
            own = frame.filter(_is_from(rule.source))
            if rule.min_trace_tokens and own.height:
                count_traces(rows)
                lengths = rows.among(own["row"]).frame(["trace_tokens"])
                own = lengths.filter(pl.col("trace_tokens") > rule.min_trace_tokens)
            taken.update(own["row"])
        return sorted(taken)

    def _weights(self, rows: Rows) -> dict[str, float]:
        """Weights of domains after the uniform part, from the pool or from the benchmarks."""
        if not rows.has("domain"):
            return _benchmark_weights(rows, set())
        total: Counter[str] = Counter()
        first = 0
        for rule in self.benchmark_sources if rows.has("source") else []:
            frame = rows.frame(["domain", "source"]).filter(_is_from(rule.source))
            counts = Counter(frame["domain"].drop_nulls())
            first = first or counts.total()
            scale = 1.0 if rule.share is None else rule.share * first / max(counts.total(), 1)
            total.update({domain: int(count * scale) for domain, count in counts.items()})
        if any(total.values()):
            return {domain: float(number) for domain, number in total.items() if number}
        return _benchmark_weights(rows, set(rows.frame(["domain"])["domain"]))


def _is_from(part: str) -> pl.Expr:
    """Whether the name of a row's source contains `part`, in any case."""
    names = pl.col("source").str.to_lowercase()
    return names.str.contains(part.lower(), literal=True).fill_null(False)


def _benchmark_weights(rows: Rows, domains: set[str]) -> dict[str, float]:
    """Weights by the domains of the run's benchmarks, each benchmark counting as much."""
    weights: Counter[str] = Counter()
    for problems in rows.context.benchmarks.values():
        counts = Counter(p.domain for p in problems if p.domain in domains)
        weights.update({domain: n / counts.total() for domain, n in counts.items()})  # type: ignore
    rows.context.note(
        "domain_draw: later draws weighted by the domains of the run's benchmarks"
        if weights
        else "domain_draw: no benchmark shares a domain with the pool; uniform to the end"
    )
    return dict(weights)


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
