"""What is put into an element stays in it."""

import xml.etree.ElementTree as ElementTree

from parallel.show.svg import DASHES, RINGS, readable_on, tag, text


def test_words_and_attributes_are_escaped():
    element = ElementTree.fromstring(tag("g", text(1, 2, "<b>&"), class_='"<&'))
    assert element.get("class") == '"<&' and element[0].text == "<b>&"


def test_an_element_without_inside_is_closed_at_once_and_an_empty_one_is_not():
    assert (tag("rect", rx=9), tag("td", "")) == ('<rect rx="9"/>', "<td></td>")


def test_neighbouring_rings_differ_without_colours():
    def grey(ink: str) -> float:
        red, green, blue = (int(ink[i : i + 2], 16) for i in (1, 3, 5))
        return 0.3 * red + 0.59 * green + 0.11 * blue

    looks = [(grey(RINGS[i % len(RINGS)]), DASHES[i % len(DASHES)]) for i in range(20)]
    for (one, dash), (other, next_dash) in zip(looks, looks[1:], strict=False):
        assert dash != next_dash or abs(one - other) > 30


def test_words_read_on_every_ink():
    assert readable_on("#1f5a93") == "#ffffff" and readable_on("#f1c999") == "#20262e"
