"""Scores of captions: metrics (BLEU, METEOR, ROUGE-L, CIDEr), emotion (words, phrases, classes), significance, io.

The caption toolkit's numbers without its Java: tokenize and ptb cut words; normalize, stem, lexical and align make
METEOR; ngrams counts. report has the one `evaluate`, which benchmarks, checkpoint and ablation call. speed, quality and
proofs measure the rest. `python -m eval --help` lists the commands, README.md shows them.
"""
