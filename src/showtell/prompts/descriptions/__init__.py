"""What labels look like, in words."""
