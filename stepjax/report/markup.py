"""Pieces of HTML that the sections of a page are made of."""

import html
from collections.abc import Sequence

from parallel.show import words
from parallel.show.svg import tag


def section(title: str, *inside: str, **attributes: str) -> str:
    """A part of the page with its heading; `inside` is markup."""
    return tag("section", tag("h2", html.escape(title)) + "".join(inside), **attributes)


def said(sentence: str, **attributes: str) -> str:
    """A paragraph."""
    return tag("p", html.escape(sentence), **attributes)


def seconds(s: float) -> str:
    return words.seconds(s).replace("us", "µs").replace(" ", "\u00a0")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], **attributes: str) -> str:
    """Cells are markup."""
    top = tag("thead", tag("tr", "".join(tag("th", each) for each in head))) if head else ""
    body = "".join(tag("tr", "".join(tag("td", cell) for cell in row)) for row in rows)
    return tag("table", top + tag("tbody", body), **attributes)
