"""Reading CLIP4STR from other OCR hosts, one module a host; installed as ``clip4str_adapters``."""
