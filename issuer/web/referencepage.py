"""`/reference`: the reference page, as Markdown for programs and as HTML for a browser.

Open, unlike everything else here but health and metrics: a browser has no token to send, and the page is the same for every
issuer of this version, so it says nothing of this one.
"""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from itertools import pairwise

from markdown_it import MarkdownIt
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from issuer.reference.page import anchor, reference_page
from issuer.web.documents import Document, conditional, document_of_text

_STYLE = """\
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; margin-top: 2.5rem; }
h2 { border-bottom: 1px solid #8886; padding-bottom: .3rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .875em; }
pre { background: #8882; padding: 1rem; overflow-x: auto; border-radius: .4rem; }
pre code { font-size: inherit; }
table { border-collapse: collapse; width: 100%; }
th, td { border: 1px solid #8886; padding: .35rem .6rem; text-align: left; vertical-align: top; }
th { background: #8882; }
td:first-child code { white-space: nowrap; }
"""
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "cache-control": "no-cache",
    "vary": "accept",
    "x-content-type-options": "nosniff",
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'",
}


def reference_route() -> Route:
    """The page's route."""

    async def endpoint(request: Request) -> Response:
        return conditional(request, _html() if "text/html" in request.headers.get("accept", "") else _text(), _HEADERS)

    return Route("/reference", endpoint)


@cache
def _text() -> Document:
    return document_of_text(reference_page(), "text/markdown")


@cache
def _html() -> Document:
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(reference_page())
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", anchor(inline.content))
    body = reader.renderer.render(tokens, reader.options, {})
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Issuer: reference</title>'
    page = f'<!doctype html>\n<html lang="en">\n<head>{head}\n<style>{_STYLE}</style></head>\n<body>\n{body}</body>\n</html>\n'
    return document_of_text(page, "text/html")
