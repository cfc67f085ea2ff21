"""Recognisers of emotion: published systems behind one contract (contract.py; README.md tells how to add one)."""

from captioner.emotion.belief import EmotionBelief

__all__ = ["EmotionBelief"]
