"""The embedded model: ``tiny.safetensors``, its configuration and its model card."""
