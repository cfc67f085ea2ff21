"""Quality of parts: the face reader, the animator of photos, the evidence of captions; `scripts/measure.py`."""
