"""What makes the captioner ECPA: visual prompts from frozen experts, textual prompts, and their alignment.

    action_units    names and order of the AUs that the graph net scores
    backbones       nets under the experts, by name
    er_net          emotion recognition net
    au_graph        AU relation graph net, its loss
    released        checkpoints of the graph net as its authors released them
    visual          frozen experts and the ER and AU tokens (VEP, eqs 4 and 5)
    phrase_scores   how surely a clip shows each facial phrase: one more token
    textual         soft class token, sentence and word features (TEP, eqs 6 and 7)
    alignment       ER-sentence and AU-word losses (ECA, eqs 8 to 12)
    lazy_imports    torchvision and timm without torch's compiler

Nothing of `captioner` is imported here, and this file imports nothing: names of AUs cost no torch.
"""
