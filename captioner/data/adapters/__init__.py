"""Adapters: the public layouts of MAFW, EmVidCap, MSVD and MSR-VTT, translated into the manifest."""
