"""Proofs by doing: training shared out, killed and stopped; damaged videos captioned; `scripts/prove.py`."""
