"""Our evaluations in the formats of others: a record per point of a curve, with its interval."""
