"""The version, told once: packaging, checkpoints and `caption --version` read it here."""

__version__ = "0.1.0"
