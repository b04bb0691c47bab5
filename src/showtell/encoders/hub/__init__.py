"""CLIP-like encoders from a hub or a folder."""
