"""Classifiers on the visual clues of a concept tree."""
