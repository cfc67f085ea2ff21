"""EmotionCLIP: clips of people and what they say, contrasted (emotion_clip.py; read it first)."""
