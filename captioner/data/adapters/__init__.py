"""Adapters: the public layouts of MAFW, EmVidCap, MSVD, MSR-VTT and three sets of viewer emotion, as a manifest."""
