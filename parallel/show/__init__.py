"""Pictures and words for people: the fabric as SVG, charts, sentences."""
