"""A local model's likelihood of each label."""
