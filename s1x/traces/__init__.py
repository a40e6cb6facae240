"""What models have written: token streams served once (DESIGN 4) and kept on disk."""
