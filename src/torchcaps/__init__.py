"""Capsule networks that are correct, fast and visible."""
