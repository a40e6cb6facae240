"""Selection: from a pool to the rows to train on, by a recipe of steps (paper, section 2)."""
