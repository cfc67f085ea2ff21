"""Adapters: the public layouts of MAFW, EmVidCap, MSVD, MSR-VTT, VATEX, sets of viewer emotion, as a manifest."""
