"""The embedded encoder."""
