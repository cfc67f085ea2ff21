"""Speed: how long captioning, reading, training, scoring and the scan take; `python scripts/bench.py --help`."""
