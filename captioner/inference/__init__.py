"""From a video to a caption and what it rests on."""
