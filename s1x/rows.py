"""Evaluation rows: the one table that metrics and reports read.

One row per (benchmark, problem, model role, point of the curve, sample). Names are the field's and
hold their units. A value that is not known is null, never 0.
"""

from __future__ import annotations

import pyarrow as pa

#: verdicts a row can have
CORRECT, WRONG, UNANSWERED, UNGRADED = "correct", "wrong", "unanswered", "ungraded"
#: how thinking ended: the model's own delimiter, the limit, the end of the context, or either of
#: these (or the policy, for that) while it repeated itself
END_REASONS = NATURAL, CUT, TRUNCATED, LOOP = "natural", "cut", "truncated", "loop"
#: signs that thinking goes on in an answer: a delimiter, a wait word, no end within its limit
SPILL_DELIMITER, SPILL_WAIT, SPILL_CUT = SPILLS = ("delimiter", "wait", "cut")


def schema() -> pa.Schema:
    """The Arrow schema of `rows.parquet`."""
    text, count = pa.string(), pa.int64()
    return pa.schema(
        [
            ("benchmark", text),
            ("problem_id", text),
            ("domain", text),
            ("level", text),
            ("model", text),  # Model.name
            ("model_role", text),  # base | fine_tuned | imported
            ("prompt_format", text),  # thinking | direct | unknown (imported)
            ("policy", text),  # name of the budget policy
            ("point", count),  # index of the curve's point
            ("setting", text),  # the point's label: "max 512", "natural", "Wait x 2"
            ("sample", count),  # 0 .. samples_per_problem - 1
            ("question", text),
            ("reference_answer", text),
            ("prompt_tokens", count),
            ("token_ids", pa.list_(pa.int32())),  # after the prompt: thinking, delimiters, answer
            ("forced_mask", pa.list_(pa.bool_())),  # True: put there by the policy
            # how sure the model was of each of token_ids (docs/confidence.md); null: not recorded
            ("token_log_probs", pa.list_(pa.float32())),
            ("token_entropies", pa.list_(pa.float32())),
            ("token_confidences", pa.list_(pa.float32())),
            ("thinking_tokens", count),  # of token_ids, the first N are thinking (forced too)
            ("answer_tokens", count),  # tokens of the answer, delimiters and cue not counted
            ("forced_tokens", count),
            ("thinking_text", text),
            ("answer_text", text),  # cue included, end of turn not
            ("answer_cut", pa.bool_()),  # it came to budget.max_answer_tokens before its end
            ("end_reason", text),  # natural | cut | truncated | loop
            ("spill", pa.list_(text)),  # signs of thinking in the answer: delimiter, wait, cut
            ("looped", pa.bool_()),  # the thinking repeats itself word for word
            ("num_waits", count),  # waits really appended
            ("num_tries", count),  # samples drawn (rejection sampling), else 1
            ("interim_token_counts", pa.list_(count)),  # thinking tokens where an answer was asked
            ("interim_answers", pa.list_(text)),  # extracted, e.g. at each Wait; the final one last
            ("interim_verdicts", pa.list_(text)),
            ("extracted_answer", text),
            ("extraction_rule", text),
            ("verdict", text),  # correct | wrong | unanswered | ungraded
            ("ungraded_reason", text),
            ("total_tokens", count),  # the model wrote for this row: all traces, probes, restarts
            ("scorer_tokens", count),  # that a scorer read for it
            # by the scorer's parameters / the model's; null where either is not known
            ("scorer_weighed_tokens", pa.float64()),
            ("num_traces", count),  # forks included
            ("search_tree", text),  # JSON: parent, scores, answer and fate of each trace
            # from the prompt on; the first two null where tokens were there before (trace store)
            ("first_token_seconds", pa.float64()),
            ("thinking_seconds", pa.float64()),  # to the end of thinking
            ("wall_seconds", pa.float64()),  # to the end of the answer
        ]
    )
