"""Judging: whose answer is better, where no gold label can say."""
