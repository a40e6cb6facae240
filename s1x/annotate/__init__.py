"""Annotation: the columns that recipes need and models make (paper, section 2.1 and 2.2)."""
