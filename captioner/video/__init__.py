"""From a file to pictures and their seconds."""
