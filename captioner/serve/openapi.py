"""What the interface says of itself: the request of its main route, and a reference page that needs no network."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment

DESCRIPTION = (
    "What happens in a video of people, and what the faces show. POST a video to /v1/captions and get its captions, or "
    "send wait=false and follow /v1/captions/{key}/events. Errors are {\"error\": one line}. Uploads are deleted when "
    "they are captioned. The record is the one of `caption -f json`."
)
_OPTIONS: dict[str, Any] = {
    "style": {"type": "string", "description": "One of the model's styles; empty: its first."},
    "neutral": {"type": "boolean", "description": "Call nobody woman or man."},
    "habits": {"type": "string", "enum": ["none", "mafw"], "description": "mafw: as often as its annotators name it."},
    "people": {"type": "integer", "minimum": 0, "maximum": 16, "description": "A caption for each of so many people."},
    "window": {"type": "number", "description": "A caption for every so many seconds; beyond 30 s always by scenes."},
    "beams": {"type": "integer", "minimum": 1, "maximum": 32, "description": "Width of the search."},
    "max_words": {"type": "integer", "minimum": 1, "maximum": 100, "description": "Longest caption."},
    "wait": {"type": "boolean", "default": True, "description": "false: answer at once with an id to follow."},
}
_ADDRESS = {"type": "string", "description": "An http(s) address of a video file."}
_EXAMPLE = {"type": "string", "description": "The name of an example, of /v1/examples."}
_FILE = {"type": "string", "format": "binary", "description": "The video or picture."}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": _FILE, "address": _ADDRESS, **_OPTIONS}}
            },
            "application/json": {
                "schema": {"type": "object", "properties": {"address": _ADDRESS, "example": _EXAMPLE, **_OPTIONS}}
            },
        },
    }
}
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>captioner: reference</title><link rel="stylesheet" href="/page/page.css"></head><body>
<header><h1>{{ info.title }} {{ info.version }}</h1><p>{{ info.description }}</p>
<p class="quiet">For programs: <a href="/openapi.json">openapi.json</a>. In a shell:
<code>curl -F file=@video.mp4 http://127.0.0.1:7860/v1/captions</code></p></header><main>
{% for path, methods in paths.items() %}{% for method, about in methods.items() %}
<section><h2 class="label"><code>{{ method|upper }} {{ path }}</code></h2><p>{{ about.description }}</p>
{% for kind, content in (about.requestBody or {}).get("content", {}).items() %}
<div class="scroll" role="region" tabindex="0" aria-label="Fields of {{ kind }}">
<table class="numbers"><caption>{{ kind }}</caption><thead><tr><th scope="col">Field</th><th scope="col">Kind</th>
<th scope="col">Meaning</th></tr></thead><tbody>
{% for name, field in content.schema.properties.items() %}
<tr><th scope="row">{{ name }}</th><td>{{ field.type }}</td><td>{{ field.description }}</td></tr>{% endfor %}
</tbody></table></div>{% endfor %}</section>{% endfor %}{% endfor %}
</main></body></html>"""


def reference_page(schema: dict[str, Any]) -> str:
    """All routes of an OpenAPI schema as a page without scripts."""
    return Environment(autoescape=True).from_string(_PAGE).render(info=schema["info"], paths=schema["paths"])
