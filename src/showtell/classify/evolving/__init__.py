"""Descriptions that evolve by the encoder's confusions."""
