"""No scorer."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.errors import UserError
from s1x.model.model import Model
from s1x.option import option
from s1x.scorer.scorer import LiveScorer, Scorer


@option("scorer", "none")
@dataclass(frozen=True)
class NoScorer(Scorer):
    """No scores: policies that vote count heads."""

    def start(self, model: Model) -> LiveScorer:
        self.must_score()
        raise AssertionError

    def must_score(self) -> None:
        raise UserError(
            "this budget policy needs scores; give a scorer (scorer=puzzle_verifier on the laptop, "
            "scorer=qwen2_5_math_prm_7b, ...)"
        )
