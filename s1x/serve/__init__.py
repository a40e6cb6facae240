"""The gateway: an OpenAI-compatible server in which a budget policy is at work on every request."""
