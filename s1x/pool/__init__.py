"""Pools: questions with reasoning traces, attempts and verdicts, each written as Parquet parts."""
