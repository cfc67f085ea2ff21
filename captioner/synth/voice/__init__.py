"""Synthetic voices: sentences said with an emotion, by a small source-filter voice or by espeak-ng."""
