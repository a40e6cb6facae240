"""Answer flips: does one more "Wait" mend answers or spoil them? (arXiv 2507.14419, 2506.04210)"""

from __future__ import annotations

from collections.abc import Sequence

from s1x.metrics.results import Flips
from s1x.metrics.table import Cell
from s1x.rows import CORRECT, UNGRADED


def flips(cell: Cell) -> list[Flips]:
    """Flips between the answers asked for along each trace: entry i compares answer i with i + 1.

    The answers are those of `interim_verdicts`, the final one last. Empty without any.
    """
    longest = max((len(verdicts or ()) for verdicts in cell.interim_verdicts), default=0)
    found = []
    for step in range(1, longest):
        pairs = []
        for verdicts, answers in zip(cell.interim_verdicts, cell.interim_answers, strict=True):
            if verdicts is not None and len(verdicts) > step:
                texts = answers if answers is not None else [None] * len(verdicts)
                pairs.append((*verdicts[step - 1 : step + 1], *texts[step - 1 : step + 1]))
        found.append(_count(step, pairs))
    return found


def flips_between(before: Cell, after: Cell) -> Flips:
    """Flips from one point to another of the same samples ("natural" to "Wait x 1")."""
    rows = {(before.problem_ids[p], int(s)): i for i, (p, s) in _rows(before)}
    pairs = []
    for i, (p, s) in _rows(after):
        j = rows.get((after.problem_ids[p], int(s)))
        if j is not None:
            pairs.append(
                (
                    *(before.verdict[j], after.verdict[i]),
                    *(before.extracted_answer[j], after.extracted_answer[i]),
                )
            )
    return _count(1, pairs)


def _rows(cell: Cell) -> enumerate[tuple[int, int]]:
    return enumerate(zip(cell.problem.tolist(), cell.sample.tolist(), strict=True))


def _count(step: int, pairs: Sequence[tuple[str | None, ...]]) -> Flips:
    graded = [p for p in pairs if not {p[0], p[1]} & {UNGRADED, None}]
    kinds = [(p[0] == CORRECT, p[1] == CORRECT) for p in graded]
    return Flips(
        step=step,
        wrong_to_right=kinds.count((False, True)),
        right_to_wrong=kinds.count((True, False)),
        stayed_right=kinds.count((True, True)),
        stayed_wrong=kinds.count((False, False)),
        changed=sum(p[2] != p[3] for p in graded),
    )
