"""SVG and HTML elements as text, and the inks that all pictures share."""

import html

INK, QUIET, FAINT = "#20262e", "#68707b", "#c9ced6"  # words, words beside, what is not there
PAPER, RAIL = "#fcfcfb", "#dfe3e8"  # of the fabric: its ground, and wires without a circuit
GRID, AXIS = "#e6e9ee", "#aeb5bf"  # of a chart
BLUE, ORANGE, GREY, RED, GREEN = "#1f5a93", "#d0782a", "#9aa3ad", "#b3372f", "#2c7a51"
GLOW = "#ffd76a"
RINGS = (  # neighbours differ in grey too, together with their DASHES
    "#2f6db3",
    "#c8641b",
    "#2e8b63",
    "#8457b0",
    "#b8405e",
    "#1c8c9e",
    "#8a6a3b",
    "#5865c2",
    "#6f8a1f",
    "#a94fa0",
)
DASHES = ("none", "9 4", "2.5 3.5", "12 3.5 2.5 3.5", "5 3")
FONT = "system-ui, -apple-system, 'Segoe UI', Inter, Roboto, sans-serif"


def tag(name: str, inside: str | None = None, **attributes: object) -> str:
    """An element. `inside` is markup; attributes are plain, and `_` in their names stands for `-`.

    >>> tag("path", d="M0 0H9", stroke_width=2), tag("p", "a &amp; b", class_="note")
    ('<path d="M0 0H9" stroke-width="2"/>', '<p class="note">a &amp; b</p>')
    """
    plain = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
    )
    return f"<{name}{plain}/>" if inside is None else f"<{name}{plain}>{inside}</{name}>"


def text(
    x: float | str,
    y: float | str,
    words: str,
    ink: str = QUIET,
    anchor: str = "middle",
    **attributes: object,
) -> str:
    """Words at a place; numbers are px, rounded to a tenth."""
    x, y = (round(place, 1) if isinstance(place, float) else place for place in (x, y))
    return tag("text", html.escape(words), x=x, y=y, fill=ink, text_anchor=anchor, **attributes)


def readable_on(ink: str) -> str:
    """The ink, dark or white, that reads on top of `ink`."""
    red, green, blue = (int(ink[i : i + 2], 16) for i in (1, 3, 5))
    return "#ffffff" if 0.3 * red + 0.59 * green + 0.11 * blue < 140 else INK
