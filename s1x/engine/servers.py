"""Settings of whatever asks OpenAI-compatible servers: where they are, and how patient it is."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from s1x.errors import SettingError
from s1x.option import Option, setting


@dataclass(frozen=True)
class Servers(Option):
    """Where the servers of one model are."""

    base_urls: list[str] = setting(
        factory=list,
        doc="OpenAI-compatible servers of one model, such as [http://host:8000/v1]; calls spread "
        "over them",
        affects_result=False,
    )
    api_key_env: str = setting(
        "OPENAI_API_KEY",
        "environment variable that holds the key, if one is needed",
        affects_result=False,
    )
    concurrency: int = setting(
        16, "calls in flight at each server", at_least=1, affects_result=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        example = "give [http://localhost:8000/v1]"
        if isinstance(self.base_urls, str):
            raise SettingError("base_urls", "a list of addresses", self.base_urls, example)
        for url in self.base_urls:
            if not _is_address(url):
                raise SettingError("base_urls", "addresses of servers", url, example)
            if "@" in urlsplit(url).netloc or urlsplit(url).query:
                remedy = "give the key in the environment variable that api_key_env names"
                raise SettingError("base_urls", "free of passwords and keys", "(hidden)", remedy)


@dataclass(frozen=True)
class Patience(Option):
    """How long a server is waited for, and how often it is asked again."""

    max_tries: int = setting(
        8, "tries of a call before it is given up", at_least=1, affects_result=False
    )
    timeout_seconds: float = setting(
        600.0, "for one try of a call, from first to last byte", above=0, affects_result=False
    )
    backoff_seconds: float = setting(
        1.0, "first pause after a failed try; doubles", above=0, affects_result=False
    )
    max_backoff_seconds: float = setting(
        60.0, "longest pause, whatever the server asks for", above=0, affects_result=False
    )


def _is_address(url: object) -> bool:
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
