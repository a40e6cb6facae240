"""Annotation: the columns that recipes need and models make (paper, section 2.1 and 2.2)."""

from s1x.annotate.settings import Annotate
from s1x.annotate.stage import run

__all__ = ["Annotate", "run"]
