"""The network: captioner.py is read first; encoders, frozen experts, fusion, decoding and checkpoints beside it."""
