"""From files to batches: video, transforms, tokenizer, manifest, dataset."""
