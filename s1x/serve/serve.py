"""Settings of the gateway (`stages=[serve]`)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from s1x.errors import SettingError
from s1x.option import Option, option, setting

BOTH, MERGED = "both", "merged"
#: how thinking is handed out
REASONING_FORMATS = (BOTH, "reasoning_content", "reasoning", MERGED)


@option("serve", "serve")
@dataclass(frozen=True)
class Serve(Option):
    """Where the gateway listens, how much it takes on, and how it words its answers."""

    host: str = setting("127.0.0.1", "address to listen on; 0.0.0.0: all of this machine's")
    port: int = setting(8000, "port to listen on; 0: any free one", at_least=0, at_most=65535)
    model_role: str = setting(
        "base",
        "what answers: the model, or what stages=[train] made of it",
        choices=("base", "fine_tuned"),
    )
    reasoning_format: str = setting(
        BOTH,
        "the field of thinking: reasoning_content, reasoning, both; or merged: <think>…</think> "
        "at the head of the content",
        choices=REASONING_FORMATS,
    )
    efforts: dict[str, int | None] = setting(
        factory=lambda: {
            "none": 0,
            "minimal": 512,
            "low": 1024,
            "medium": 4096,
            "high": 16384,
            "xhigh": 32768,
            "max": None,
        },
        doc="thinking tokens of each effort word; null: what the context holds",
    )
    keep_traces: bool = setting(True, "puts what is written into the trace store (output/traces)")
    max_requests: int = setting(64, "requests worked on at once", at_least=1)
    max_queued: int = setting(
        256, "requests that may wait; more are told to come again", at_least=0
    )
    max_samples: int = setting(
        16, "answers of one request at most (n), or traces of all", at_least=1
    )
    max_body_mib: float = setting(4.0, "size of a request", above=0)
    keep_alive_seconds: float = setting(
        10.0, "a comment line is sent when a stream was silent for so long", above=0
    )
    chunk_seconds: float = setting(
        0.02, "time between two chunks of a stream; faster tokens share one", at_least=0
    )
    stop_seconds: float = setting(
        10.0, "time that streams get to finish after Ctrl-C or SIGTERM", at_least=0
    )
    api_key_env: str | None = setting(
        None, "environment variable with the key that clients must send; null: no key is asked for"
    )
    cors_origins: list[str] = setting(
        factory=list, doc="web pages of these origins may use the gateway ([*]: all); []: none"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for word, tokens in self.efforts.items():
            if tokens is not None and tokens < 0:
                raise SettingError(f"efforts.{word}", "0 or more, or null", tokens)

    def name_of(self, model_name: str) -> str:
        """What clients call the model: a fine-tuned one is not its base."""
        return model_name if self.model_role == "base" else f"{model_name}-fine-tuned"

    def api_key(self) -> str | None:
        """The key that clients must send.

        Raises:
            SettingError: the variable is named and has no value.
        """
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "")
        if not key.strip():
            raise SettingError(
                "serve.api_key_env", "a variable that holds a key", self.api_key_env, "export it"
            )
        return key.strip()
