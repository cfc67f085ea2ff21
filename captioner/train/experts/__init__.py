"""Training of the frozen experts: an emotion net and an action-unit net for face crops."""
