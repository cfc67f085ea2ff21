"""Training: the loop and the engine that is handed to it."""
