"""Sets of labelled crops: opened, checked, split, converted, made."""
