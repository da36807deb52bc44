"""CLIP4STR in OCR programs, one module per host; installed as ``clip4str_adapters``."""
