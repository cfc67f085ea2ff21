"""Penn Treebank tokens as the COCO caption toolkit makes them, one line a caption."""

from collections.abc import Sequence

from captioner.errors import CaptionerError
from eval.java import JavaError, run_java, toolkit_file

# What the toolkit drops after tokenising. Output is lower-cased, so its bracket entries never match.
PUNCTUATION = frozenset(("''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"))


def clean(caption: str) -> str:
    """The caption on one line: every run of white space one space, lone surrogates replaced by U+FFFD."""
    line = " ".join(caption.split())
    # UTF-16 turns a surrogate pair written as two characters into one and marks a single half as faulty.
    return line if line.isascii() else line.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def tokenize(captions: Sequence[str]) -> list[str]:
    """One string of tokens, joined by single spaces, for each caption; captions must be clean."""
    if not captions:
        return []
    jar = toolkit_file("tokenizer/stanford-corenlp-3.4.1.jar")
    if jar is None:
        raise JavaError("the PTB tokeniser needs pycocoevalcap, which is not installed: pip install pycocoevalcap")
    flags = ["-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    lines = run_java(flags, "\n".join(captions), timeout=60 + len(captions) / 500).split("\n")
    if len(lines) == len(captions) + 1 and not lines[-1]:
        lines.pop()
    if len(lines) != len(captions):
        raise CaptionerError(f"the tokeniser gave {len(lines)} lines for {len(captions)} captions")
    return [" ".join(word for word in line.rstrip().split(" ") if word not in PUNCTUATION) for line in lines]
