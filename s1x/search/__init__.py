"""Budget policies over many traces of one question; one file each."""
