"""Chains: students of a teacher, and cascades that ask the teacher only where needed."""
