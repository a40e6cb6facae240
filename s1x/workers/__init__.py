"""Who does the work: one engine in this process, or copies of it on every machine there is."""
