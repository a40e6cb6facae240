"""The page at `/`: a question, a budget, and thinking as it comes.

It is one file, made when the server starts, and talks to the same `/v1/chat/completions` as every
other client. What it offers of each policy are the policy's swept settings; text of models and
people reaches it as text nodes only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

from s1x.budget.policy import Policy
from s1x.serve.gateway import Gateway
from s1x.serve.refusal import Json
from s1x.web import MATH, SHARED, asset, island, render

ASSETS = Path(__file__).with_name("assets")
_LABELS = {"max_thinking_tokens": "Thinking budget", "target_thinking_tokens": "Thinking target"}


def page(gateway: Gateway, needs_key: bool) -> tuple[str, dict[str, str]]:
    """The file and its headers.

    Args:
        gateway: whose model and policies it offers.
        needs_key: whether it asks for the key that clients must send.
    """
    model, policies = gateway.prompts.model, gateway.policies
    own = {policies.own_name: policies.own}
    offered = {**own, **gateway.served_policies(), **own}
    facts = {
        "context_tokens": model.context_tokens,
        "sampled": not gateway.sampling.greedy,
        "policies": [{"name": n, "controls": list(controls(p))} for n, p in offered.items()],
    }
    parts = [SHARED / "math.js", SHARED / "trace.js", ASSETS / "page.js"]
    text, policy = render(
        ASSETS,
        [SHARED / "report.css", ASSETS / "page.css"],
        [asset(SHARED / MATH), "\n".join(map(asset, parts))],
        connect="self",
        title=f"{model.name} · s1x",
        model=model,
        needs_key=needs_key,
        facts=island(facts),
    )
    return text, {
        "content-security-policy": f"{policy}; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }


def controls(policy: Policy) -> Iterator[Json]:
    """Each swept setting: what it is called, what values it takes, and where it stands."""
    fields = {field.name: field for field in dataclasses.fields(policy)}
    types, values = get_type_hints(type(policy)), vars(policy)
    for name in policy.swept_settings:
        said = fields[name].metadata
        yield {
            "name": name,
            "label": _LABELS.get(name, name.removeprefix("num_").replace("_", " ").capitalize()),
            "doc": said["doc"],
            "value": values[name],
            "tokens": name.endswith("_tokens"),
            "optional": type(None) in get_args(types[name]),
            "whole": float not in (types[name], *get_args(types[name])),
            "least": said["at_least"] or 0,
            "choices": list(said["choices"] or ()),
        }
