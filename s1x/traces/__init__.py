"""What models have written: token streams served once and kept on disk."""
