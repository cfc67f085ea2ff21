"""MER-CLIP, RECONSTRUCTED: words, sound and pictures fused one after the other, driven by the labels' own texts."""
