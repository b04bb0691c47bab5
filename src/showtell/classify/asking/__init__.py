"""Classifiers that ask a multimodal LLM."""
