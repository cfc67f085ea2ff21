"""Scores of captions: metrics (BLEU, METEOR, ROUGE-L, CIDEr), emotion (words, phrases, classes), significance, io.

The caption toolkit's numbers without its Java: tokenize and ptb cut words; normalize, stem, lexical and align make
METEOR; ngrams counts. Run `python -m eval --help` for the commands.
"""
