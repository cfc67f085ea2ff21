"""Drawn faces, moved by action units."""
