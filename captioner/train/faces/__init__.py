"""Training of the face reader."""
