"""Recognisers of emotion, one file a published system; the label sets they share."""

MAFW_LABELS: tuple[str, ...] = (
    "anger", "disgust", "fear", "happiness", "neutral", "sadness",
    "surprise", "contempt", "anxiety", "helplessness", "disappointment",
)  # fmt: skip
