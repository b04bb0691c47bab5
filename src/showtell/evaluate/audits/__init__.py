"""Audits: whether the prompt decides instead of the picture."""
