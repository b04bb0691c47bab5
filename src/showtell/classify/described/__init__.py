"""Classifiers whose labels are told by descriptions."""
