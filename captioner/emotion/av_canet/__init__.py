"""AV-CANet: pictures and sound of a clip, fused snippet by snippet and as a whole."""
