"""Diverse verifier tree search: beams that do not compete (Beeching et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from s1x.option import option
from s1x.search.beam_search import BeamSearch
from s1x.search.group import Branch, Group


@option("budget", "dvts")
@dataclass(frozen=True)
class Dvts(BeamSearch):
    """N / M trees, each a beam search that keeps one trace and goes on in M ways."""

    title = "DVTS"

    def kept(self, group: Group, live: Sequence[Branch]) -> list[Branch]:
        ways = min(self.beam_width, self.num_traces)
        trees: dict[int, list[Branch]] = {}
        for branch in live:
            trees.setdefault(_first(group, branch).index // ways, []).append(branch)
        found: list[Branch] = []
        for tree in trees.values():
            ranked = sorted(tree, key=lambda one: (-(one.scores or (0.0,))[-1], one.index))
            for branch in ranked[1:]:
                branch.fate = "dropped"
            forks = 0 if group.is_done(ranked[0]) else ways - 1
            found += [ranked[0], *(group.fork(ranked[0]) for _ in range(forks))]
        return found


def _first(group: Group, branch: Branch) -> Branch:
    """The trace that a branch descends from."""
    while branch.parent is not None:
        branch = group.branches[branch.parent]
    return branch
