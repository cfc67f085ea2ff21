"""The words of captions: emotions, facial phrases, what people do, action units. Nothing heavy is imported."""
