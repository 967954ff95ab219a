"""The shell of every page that a step writes: one HTML file, no network, no script.

Light and dark, from 320 px to paper, in the reader's own fonts. Classes that a body may use (see `page.css`):

- `.verdict` with one of `promote`, `reject`, `inconclusive`, `failed`, `blocked`: the first thing read. Inside it `p.word`, `p.reason`,
  `p.remedy` and `p.after` (what it means for production).
- `.chip` with one of these or `pass`, `fail`, `unknown`, `running`: a state in a table; none of them is neutral.
- `dl.facts` of `div`s with `dt` and `dd`: short facts side by side; `dl.facts.rows`: one fact a line.
- `div.scroll` around a `table` (give it `role="region"`, an `aria-label` and `tabindex="0"`), `table.compact` for few short columns,
  `table.many` for more than ten; `.num` on `th` and `td` that hold numbers, `td.reason` on sentences, `td.cell` and
  `th.cell` on foreign values that may be long.
- `.columns`: blocks side by side where there is room. `.muted`, `.small`, `.digest`, `code`, `pre`, `details`, `nav.contents`, `footer`.
- figures: made by `kfp_ratchet.components.shared.charts`.
"""

import re
from collections.abc import Callable
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

# Bidirectional overrides reorder what stands around them, control characters are no HTML, half surrogates no UTF-8: a name can hold all.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]")


def page(title: str, body: str, style: str = "") -> str:
    """A whole self-contained HTML5 page.

    Args:
        title: Plain text; the window's title and the page's `h1`.
        body: Trusted HTML: everything foreign in it is escaped already. Its headings start at `h2`.
        style: CSS of this page's own, after that of all pages.

    Returns:
        The page; characters that cannot be seen but change what is seen (U+202E and the like) stand in it as [U+202E].
    """
    whole = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_css()}{style}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )
    return _UNSEEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", whole)


def templates(folder: Path, **filters: Callable[..., Any]) -> "Environment":
    """The Jinja templates of a folder, for pages: what is foreign is escaped."""
    # Here, and not above: a page without a template needs no Jinja.
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= filters
    return environment


@cache
def _css() -> str:
    return Path(__file__).with_name("page.css").read_text(encoding="utf-8")
