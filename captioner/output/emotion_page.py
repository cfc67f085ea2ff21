"""A page about what is believed of a video: one HTML file without scripts that fetches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from captioner.errors import printable
from captioner.inference.emotion_reader import EmotionMoment
from captioner.output.page import page_style
from captioner.output.writers import clock

if TYPE_CHECKING:
    from jinja2 import Template

MOST_BARS = 5
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ file }}: emotions</title>
<style>
{{ css }}
.belief{display:grid;grid-template-columns:10rem 1fr 3rem;gap:.2rem .6rem;align-items:center}
.belief meter{width:100%}
</style>
</head>
<body>
<header>
  <h1>{{ file }}</h1>
  <p class="quiet">What a recogniser believes; it names what is shown, not what a person feels.</p>
</header>
<main id="main">
{% for m in moments %}
<article>
  <h2>{{ m.where }}{% if m.person %}, person {{ m.person }}{% endif %}</h2>
  <p class="quiet">by {{ m.senses }}{% if m.lacking %}; without {{ m.lacking }}{% endif %}</p>
  <div class="belief">
  {% for label, share in m.bars %}
    <span>{{ label }}</span><meter min="0" max="1" value="{{ share }}">{{ share }}</meter><span>{{ share }}</span>
  {% endfor %}
  </div>
</article>
{% endfor %}
</main>
</body>
</html>
"""


def emotion_page(moments: Sequence[EmotionMoment], windows: bool) -> str:
    """The HTML of the beliefs of one file, span by span, person by person."""
    file = printable(moments[0].source) if moments else ""
    return _template().render(file=file, css=page_style(), moments=[_shown(moment) for moment in moments])


def _shown(moment: EmotionMoment) -> dict[str, Any]:
    pairs = moment.belief.sorted_labels()[:MOST_BARS]
    return {
        "where": f"{clock(moment.start)} to {clock(moment.end)}",
        "person": moment.person,
        "senses": ", ".join(moment.senses) or "nothing",
        "lacking": ", ".join(moment.lacking),
        "bars": [(printable(label), f"{share:.2f}") for label, share in pairs],
    }


@cache
def _template() -> Template:
    from jinja2 import Environment

    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(PAGE)
