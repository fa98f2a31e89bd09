"""Students under a protocol: rows, intervals, scores, tables."""
