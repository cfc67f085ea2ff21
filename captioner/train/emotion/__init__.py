"""Training and testing of the recognisers of emotion."""
