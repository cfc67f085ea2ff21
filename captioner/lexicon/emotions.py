"""The emotions by name, in the order of the data sets that use them."""

MAFW_LABELS: tuple[str, ...] = (
    "anger", "disgust", "fear", "happiness", "neutral", "sadness",
    "surprise", "contempt", "anxiety", "helplessness", "disappointment",
)  # fmt: skip
FERPLUS_LABELS: tuple[str, ...] = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt",
)  # fmt: skip
