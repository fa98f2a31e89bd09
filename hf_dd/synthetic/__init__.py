"""The images that are optimised, what they start from, and the distilled set as tensors."""
