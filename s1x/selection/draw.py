"""Diversity: which of the rows that are left are chosen (paper, section 2.2 "Diversity")."""

from __future__ import annotations

import bisect
import itertools
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from s1x.option import Option, option, setting
from s1x.selection.step import Drops, Rows, Step, wanted_size

if TYPE_CHECKING:
    from s1x.selection.table import Numbers


def _chosen(rows: Rows, places: Any, reason: str) -> Drops:
    import numpy as np

    drops = Drops(len(rows))
    lost = np.ones(len(rows), bool)
    lost[np.asarray(places, np.int64)] = False
    drops.mark(None, lost, reason)
    return drops


@option("selection_step", "random")
@dataclass(frozen=True)
class RandomDraw(Step):
    """Draws rows at random (the paper's 1K-random)."""

    size: int | None = setting(None, "rows to draw; null: selection.size", at_least=1)
    chooses: ClassVar[bool] = True

    def __call__(self, rows: Rows) -> Drops:
        size = wanted_size(self.size, rows)
        if size is None:
            return Drops(len(rows))
        drawn = rows.random().sample(range(len(rows)), size)
        return _chosen(rows, drawn, "not drawn")


@option("selection_step", "longest")
@dataclass(frozen=True)
class Longest(Step):
    """Takes the rows with the longest reasoning traces (the paper's 1K-longest)."""

    size: int | None = setting(None, "rows to take; null: selection.size", at_least=1)
    chooses: ClassVar[bool] = True

    def __call__(self, rows: Rows) -> Drops:
        import numpy as np

        size = wanted_size(self.size, rows)
        order = np.argsort(-rows.trace_tokens(), kind="stable")
        return _chosen(rows, order[:size], "trace is shorter")


@option("selection_step", "domain_cap")
@dataclass(frozen=True)
class DomainCap(Step):
    """Keeps at most so many rows of a domain, drawn at random or by trace length."""

    max_rows: int = setting(100, "rows kept of each domain", at_least=1)
    prefer: str = setting("random", "which stay", choices=["random", "longest_trace"])

    def __call__(self, rows: Rows) -> Drops:
        kept: list[int] = []
        rng = rows.random()
        tokens = rows.trace_tokens() if self.prefer == "longest_trace" else None
        for _, places in sorted(_domains(rows).items()):
            if tokens is not None:
                places = sorted(places, key=lambda place: (-tokens[place], place))
            elif len(places) > self.max_rows:
                places = rng.sample(places, self.max_rows)
            kept += places[: self.max_rows]
        return _chosen(rows, kept, f"domain has {self.max_rows} rows already")


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
    """Draws a domain, then a row of it, until there are enough (s1's notebook, rule for rule).

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
    num_domains: int | None = setting(None, "only the largest so many domains", at_least=1)
    chooses: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, kind in (("trusted", Trusted), ("benchmark_sources", BenchmarkSource)):
            rules = [
                kind(**rule) if isinstance(rule, dict) else rule for rule in getattr(self, name)
            ]
            object.__setattr__(self, name, rules)

    def __call__(self, rows: Rows) -> Drops:
        size = wanted_size(self.size, rows)
        if size is None:
            return Drops(len(rows))
        lists = _Lists(rows, self.length_bias, self.num_domains)
        chosen = dict.fromkeys(self._trusted_rows(rows)[:size])
        if self.trusted:
            rows.context.note(f"domain_draw: {len(chosen)} rows of trusted sources taken first")
        rng = rows.random()
        self._draw(rows, lists, chosen, size, rng)
        if len(chosen) < size:
            wanted_size(size, Rows(rows.table, rows.numbers[: len(chosen)], rows.context, "draw"))
        drops = _chosen(rows, list(chosen), "not drawn")
        drops.report = {"trusted_rows": len(self._trusted_rows(rows)), "domains": lists.num_domains}
        return drops

    def _draw(
        self, rows: Rows, lists: _Lists, chosen: dict[int, None], size: int, rng: random.Random
    ) -> None:
        weights: dict[str, float] | None = None
        while len(chosen) < size and lists.left:
            if weights is None and len(chosen) >= self.uniform_share * size:
                weights = self._weights(rows)
            domain = lists.pick(rng, weights if len(chosen) >= self.uniform_share * size else None)
            chosen[lists.take(domain, rng)] = None

    def _trusted_rows(self, rows: Rows) -> list[int]:
        import numpy as np

        if not self.trusted or not rows.has("source") or not rows.has("attempt_is_correct"):
            return []
        from s1x.selection.verdicts import codes

        right = codes(rows.column("attempt_is_correct")) == 1
        taken = np.zeros(len(rows), bool)
        for rule in self.trusted:
            found = right & from_source(rows, rule.source)
            if rule.min_trace_tokens and found.any():
                found &= rows.trace_tokens() > rule.min_trace_tokens
            taken |= found
        return [int(place) for place in np.flatnonzero(taken)]

    def _weights(self, rows: Rows) -> dict[str, float]:
        total: Counter[str] = Counter()
        domains = rows.column("domain").to_pylist() if rows.has("domain") else []
        first = 0
        for rule in self.benchmark_sources if rows.has("source") else []:
            mask = from_source(rows, rule.source).tolist()
            counts = Counter(
                d for d, there in zip(domains, mask, strict=True) if there and d is not None
            )
            number = sum(counts.values())
            first = first or number
            scale = 1.0 if rule.share is None else rule.share * first / max(number, 1)
            for domain, count in counts.items():
                total[domain] += int(count * scale)
        if total:
            return {d: float(n) for d, n in total.items() if n}
        return _benchmark_weights(rows, set(domains))


def _benchmark_weights(rows: Rows, domains: set[str]) -> dict[str, float]:
    """Weights by the domains of the run's benchmarks, each benchmark counting as much."""
    weights: Counter[str] = Counter()
    for problems in rows.context.benchmarks.values():
        counts = Counter(p.domain for p in problems if p.domain in domains)
        for domain, count in counts.items():
            weights[domain] += count / sum(counts.values())  # type: ignore[assignment]
    if weights:
        rows.context.note(
            "domain_draw: later draws weighted by the domains of the run's benchmarks"
        )
    else:
        rows.context.note(
            "domain_draw: no benchmark shares a domain with the pool; uniform to the end"
        )
    return dict(weights)


def from_source(rows: Rows, part: str) -> Any:
    """Boolean array: rows whose source's name contains `part`, in any case."""
    import numpy as np
    import pyarrow.compute as pc

    column = rows.column("source")
    names = column.dictionary if hasattr(column, "dictionary") else column
    matching = pc.match_substring(names, part, ignore_case=True).to_numpy(zero_copy_only=False)
    if names is column:
        return np.asarray(matching == True)  # noqa: E712 - nulls are None here
    places = pc.fill_null(column.indices, -1).to_numpy()
    return np.where(places >= 0, matching[places].astype(bool), False)


def _domains(rows: Rows) -> dict[str, list[int]]:
    """Places of each domain's rows; rows of unknown domain stand together under ""."""
    found: dict[str, list[int]] = {}
    for place, domain in enumerate(rows.column("domain").to_pylist()):
        found.setdefault(domain or "", []).append(place)
    return found


@dataclass
class _Lists:
    """Each domain's rows, the longest trace last (so that taking from the front of the rank is
    cheap)."""

    rows: Rows
    length_bias: float
    max_domains: int | None
    left: dict[str, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        tokens: Numbers | None = self.rows.trace_tokens() if self.length_bias > 1 else None
        domains = _domains(self.rows)
        if self.max_domains is not None:
            largest = sorted(domains, key=lambda d: (-len(domains[d]), d))[: self.max_domains]
            domains = {d: domains[d] for d in largest}
        self.left = {}
        for domain in sorted(domains):
            places = domains[domain]
            if tokens is not None:
                places = sorted(places, key=lambda place: (tokens[place], -place))
            self.left[domain] = places
        self.num_domains = len(self.left)

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
        places = self.left[domain]
        place = places.pop(len(places) - 1 - _rank(len(places), self.length_bias, rng))
        if not places:
            del self.left[domain]
        return place


def _rank(count: int, bias: float, rng: random.Random) -> int:
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
