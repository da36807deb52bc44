"""Sets of labelled crops: open, check, split, convert and make them."""
