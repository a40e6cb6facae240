"""Others' outputs as evaluation rows: logs of lm-evaluation-harness and inspect_ai, tables."""
