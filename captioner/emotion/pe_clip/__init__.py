"""PE-CLIP: prototypes evolve through CLIP's deep text layers (pe_clip.py; read it first)."""
