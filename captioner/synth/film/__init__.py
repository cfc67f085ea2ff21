"""Before which background and camera a synthetic clip plays."""
