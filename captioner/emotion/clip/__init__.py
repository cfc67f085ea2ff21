"""CLIP pairs: opened from any layout (opening.py), the towers, their configuration."""
