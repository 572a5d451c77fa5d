"""The page of a movie needs nothing from elsewhere."""

import re
from html.parser import HTMLParser

from parallel.fabric.faults import FaultPlan
from parallel.planner.movie import frames
from parallel.planner.page import page

PLAN = FaultPlan().lose(3, 5).lose(9, 8, "during").back(3, 12)


class Reader(HTMLParser):
    """Collects tags and what they point to."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.svgs, self.stops = [], [], 0, 0

    def handle_starttag(self, tag, attributes):
        self.links += [value for key, value in attributes if key in ("src", "href", "xlink:href")]
        self.svgs += tag == "svg"
        self.stops += "stop" in (dict(attributes).get("class") or "").split()
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.links += [value for key, value in attributes if key in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_network():
    shown = frames(12, 4, 2, 16, PLAN)
    text = page(shown, PLAN)
    reader = Reader()
    reader.feed(text)
    assert reader.open == [] and reader.links == []
    assert reader.svgs == reader.stops == len(shown)
    outside = set(re.findall(r"https?://[^\"' <]+", text))
    assert outside <= {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert str(PLAN) in text and "µs" in text
