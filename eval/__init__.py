"""Scores of captions and of the emotion in them: eval.metrics, eval.emotion, eval.significance, eval.io."""
