"""Concept trees: parts and clues of labels."""
