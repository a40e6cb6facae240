"""Models: where the weights are, how a chat turn is written, and how thinking is delimited."""
