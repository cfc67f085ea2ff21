"""Recognisers of emotion, one file a published system; and the contract they meet.

PE-CLIP: settings.py (every key), clip.py, vision.py and tower.py (the CLIP pair), temporal.py and scan.py (Mamba),
wording.py and classifier.py (prompts), pe_clip.py (the recogniser; read it first), folder.py (saved), frames.py and
faces.py (what it sees), splits.py, photos.py, protocol.py and plots.py (training and testing), prior.py (in a
captioner). A pair of one's own: pair.py and lessons.py.
"""

from captioner.emotion.belief import EmotionBelief

__all__ = ["EmotionBelief"]
