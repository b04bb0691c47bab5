"""Pages about records, comparisons and evolutions."""
