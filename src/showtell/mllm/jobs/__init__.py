"""Batch endpoints of vendors: hand in now, collect later."""
