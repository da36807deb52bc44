"""Synthetic word crops."""
