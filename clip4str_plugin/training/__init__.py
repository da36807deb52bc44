"""Training CLIP4STR: permuted sequence modelling, data, augmentation and synthetic words."""
