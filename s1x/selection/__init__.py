"""Selection: from a pool to the rows to train on, by a recipe of steps (paper, section 2)."""

from s1x.selection.recipe import Recipe
from s1x.selection.stage import run

__all__ = ["Recipe", "run"]
