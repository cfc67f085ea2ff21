"""The words of captions: facial phrases and their action units, what people do."""
