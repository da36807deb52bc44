"""From pages to words: detect, cut into words, straighten, recognize, arrange."""
