"""Where the installed caption toolkit keeps its tables: jars and paraphrases inside pycocoevalcap."""

import importlib.util
from functools import cache
from pathlib import Path

from captioner.errors import CaptionerError

TOKENIZER = "tokenizer/stanford-corenlp-3.4.1.jar"
METEOR = "meteor/meteor-1.5.jar"
PARAPHRASES = "meteor/data/paraphrase-en.gz"


class ToolkitError(CaptionerError):
    """The caption toolkit, whose tables the metrics read, is not installed whole."""


@cache
def toolkit_file(name: str) -> Path:
    """The file of that name inside pycocoevalcap; its tables are read, none of its programs is run."""
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None:
        raise ToolkitError("the metrics read tables of pycocoevalcap, which is missing: pip install pycocoevalcap")
    paths = [Path(root) / name for root in spec.submodule_search_locations or ()]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise ToolkitError(f"pycocoevalcap lacks {name}: pip install --force-reinstall pycocoevalcap")
    return found
