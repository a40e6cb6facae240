"""One module a section of the report; each builds its part from `Inputs`, or None without data."""
