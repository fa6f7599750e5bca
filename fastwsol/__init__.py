"""Weakly supervised object localization, fast and honest: class labels in, boxes out."""

__version__ = "0.1.0"
