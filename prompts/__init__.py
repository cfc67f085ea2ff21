"""What makes the captioner ECPA: visual prompts from frozen experts, textual prompts, and their alignment."""
