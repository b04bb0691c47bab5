"""Cleaning: which labels of a data set are most likely wrong."""
