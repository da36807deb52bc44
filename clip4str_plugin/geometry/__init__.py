"""Shapes on a page: polygons, straightened crops, lines of words, reading order. Knows nothing of text or models."""
