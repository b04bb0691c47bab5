"""One call from question to journal: cache, budget, limits, retry."""
