"""Faces of photos, moved by action units."""
