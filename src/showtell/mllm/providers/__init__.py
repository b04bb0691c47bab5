"""Vendors and servers."""
