"""Sound and words of a video: waves, spectra, whether somebody speaks, subtitles and transcripts."""

from captioner.sound.audio import Sound, read_sound, read_spans, sound_blocks

__all__ = ["Sound", "read_sound", "read_spans", "sound_blocks"]
