"""The model's own certainty as a score: no other model, no further tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from s1x.model.model import Model
from s1x.option import option
from s1x.scorer.scorer import LiveScorer, Scored, Scorer
from s1x.traces.confidence import MEAN_LOG_PROB, Confidence, self_certainty


@option("scorer", "self_certainty")
@dataclass(frozen=True)
class SelfCertainty(Scorer):
    """Scores a step by the self-certainty of its tokens (Kang et al. 2025, arXiv 2502.18581).

    c = mean divergence from equal chances over the 20 likeliest tokens (`s1x.traces.confidence`),
    as a score c / (1 + c), 0 to 1. Tokens that a policy forced have none and do not count.
    """

    reads_confidence = True

    def start(self, model: Model) -> LiveScorer:
        return _LiveSelfCertainty()


class _LiveSelfCertainty(LiveScorer):
    reads_confidence = True
    name = "self_certainty"

    async def score(
        self,
        question: str,
        ids: Sequence[int],
        ends: Sequence[int],
        confidence: Confidence | None = None,
    ) -> Scored:
        assert confidence is not None, "streams with confidence are read"
        scores, last = [], 0.5
        for begin, end in pairwise((0, *ends)):
            values = -confidence[begin:end, MEAN_LOG_PROB].astype(np.float64)
            known = values[~np.isnan(values)]
            if len(known):  # a step that is forced as a whole says nothing new
                certainty = max(0.0, self_certainty(known))
                last = certainty / (1 + certainty)
            scores.append(last)
        return Scored(tuple(scores))
