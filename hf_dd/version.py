"""Which version of hf_dd this is: pyproject.toml and everything else read it here."""

__version__ = "0.1.0"
