"""Classifiers on the embeddings of an encoder."""
