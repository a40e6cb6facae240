"""What the gateway counts, for Prometheus (`/metrics`)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from s1x.budget.policy import ANSWER, CUE, DELIMITER, THINKING
from s1x.serve.recorder import Recorder

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters of one gateway, in a registry of their own."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.tokens = Counter("s1x_tokens", "Tokens by what they were", ["kind"], registry=own)
        self.requests = Counter(
            "s1x_requests",
            "Requests by policy and how they ended",
            ["policy", "ended"],
            registry=own,
        )
        self.ends = Counter(
            "s1x_thinking_ended", "Answers by how thinking ended", ["reason"], registry=own
        )
        self.waits = Counter("s1x_waits", "Wait strings put in", registry=own)
        self.working = Gauge("s1x_requests_working", "Requests worked on", registry=own)
        self.queued = Gauge("s1x_requests_queued", "Requests that wait", registry=own)
        self.seconds = Histogram(
            "s1x_seconds",
            "Seconds from a request to its first token, to the end of thinking, in all",
            ["until"],
            buckets=_SECONDS,
            registry=own,
        )

    def answered(self, recorder: Recorder, prompt_tokens: int) -> None:
        """One answer is whole."""
        trace = recorder.trace
        assert trace is not None
        for part in (THINKING, DELIMITER, CUE, ANSWER):
            self.tokens.labels(part).inc(trace.part_tokens[part])
        self.tokens.labels("forced").inc(sum(trace.forced))
        self.tokens.labels("prompt").inc(prompt_tokens)
        for kind, count in recorder.spent_tokens.items():
            self.tokens.labels(kind).inc(count)
        if recorder.books:
            self.tokens.labels("scorer").inc(recorder.books.scorer_tokens)
        self.ends.labels(trace.outcome.end_reason).inc()
        self.waits.inc(trace.outcome.num_waits)
        times = {
            "first_token": recorder.first_seconds,
            "thinking": recorder.thinking_seconds,
            "total": recorder.total_seconds,
        }
        for until, seconds in times.items():
            if seconds is not None:
                self.seconds.labels(until).observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self.registry)
