"""A picture on a grid of pixels: boxes, icons, captions and arrows where they are put.

Graphviz draws, but places nothing: its layouts differ between versions, and cross lines
that a person would not. The SVG carries its icons, a digest of what it was drawn from,
and as the ids of its icons the names of what they depict.
"""

import base64
import functools
import hashlib
import re
import sys
from itertools import pairwise
from pathlib import Path

from diagrams import Diagram, Edge, Node, getdiagram, setdiagram
from graphviz import Digraph

ICON, SIZE = 44, 12
INK, GREY, BLUE, ORANGE, PURPLE, GREEN = "#232f3e", "#6b7785", "#0969da", "#c45500", "#7d3fd1", "#3f7d20"
FONT = "Helvetica,Arial,sans-serif"
HERE = Path(__file__).parent


class Picture(Diagram):
    """A diagram that is laid out already. What is made inside `with` is in it."""

    def __init__(self, name, width, height):
        super().__init__(name, filename=name, show=False)
        self.width, self.height = width, height
        self.dot.graph_attr = {
            "bgcolor": "transparent",
            "outputorder": "nodesfirst",
            "pad": "0",
            "splines": "line",
        }
        self.dot.node_attr = {"fixedsize": "true", "fontname": FONT, "shape": "none"}
        self.dot.edge_attr = {"arrowsize": "0.7", "penwidth": "1.4"}

    def __enter__(self):
        super().__enter__()
        box(self.width / 2, self.height / 2, self.width, self.height, line="white", id="paper")
        return self

    def __exit__(self, failure, *_):
        setdiagram(None)
        if failure is None:
            self.render()

    def render(self):
        svg = self.dot.pipe(format="svg", engine="neato", neato_no_op=2, encoding="utf-8")
        # Without what Graphviz says of itself, and the names of nodes, which are by chance.
        svg = re.sub(r"<!--.*?-->\n?|<title>.*?</title>\n?|<!DOCTYPE.*?>\n", "", svg, flags=re.S)
        svg = re.sub(r'="(\d+)pt"', r'="\1"', svg)
        svg = re.sub(r' id="(node|edge|graph)\d+"', "", svg)
        svg = re.sub(r'xlink:href="([^"]+\.png)"', lambda icon: f'xlink:href="{embedded(icon[1])}"', svg)
        write(self.name, svg)


def write(name, svg):
    """Writes a picture to the folder that was asked for, with a digest of its sources."""
    sources = [HERE / f"{name}.py", HERE / "picture.py"]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    svg = re.sub(r"(<svg[^>]*>)", rf"\1\n<metadata>{digest}</metadata>", svg, count=1)
    Path(sys.argv[1], f"{name}.svg").write_text(svg)


def box(x, y, width, height, title="", dashed=False, **style):
    """A box around its middle, with its title at the top left."""
    frame = part(x, y, width, height, style="rounded,filled" + (",dashed" if dashed else ""), **style)
    if title:
        caption(x, y - height / 2 + 15, title + "\\l", style.get("line", GREY), width - 18)
    return frame


def part(x, y, width, height, text="", line=GREY, fill="white", style="rounded,filled", **more):
    """A box around its middle, with its text there."""
    look = {"color": line, "fillcolor": fill, "fontsize": str(SIZE), "fontcolor": INK, "penwidth": "1.2"}
    return node(Node, x, y, width, height, text, shape="box", style=style, **look, **more)


def icon(kind, x, y, text="", depicts=None):
    """An icon around its middle, its caption below. What it depicts is an address in terraform/."""
    caption(x, y + ICON / 2 + 3 + 7 * len(text.split("\n")), text)
    more = {"id": depicts} if depicts else {}
    return node(kind, x, y, ICON, ICON, imagescale="true", **more)


def caption(x, y, text, color=INK, width=1):
    """Text around its middle."""
    return node(Node, x, y, width, 1, text, fixedsize="shape", fontsize=str(SIZE), fontcolor=color)


def corner(x, y):
    """Where an arrow turns."""
    return node(Node, x, y, 0.1, 0.1, shape="point", style="invis")


def arrow(*stops, color=INK, dashed=False, both=False):
    """An arrow from the first to the last of nodes and corners."""
    style = {"color": color, "style": "dashed" if dashed else "solid"}
    for start, end in pairwise(stops):
        edge = Edge(forward=end is stops[-1], reverse=both and start is stops[0], **style)
        getdiagram().connect(start, end, edge)


def node(kind, x, y, width, height, text="", **attributes):
    # Graphviz counts in points from the bottom, and sizes in inches.
    place = {"pos": f"{x},{getdiagram().height - y}", "width": f"{width / 72}", "height": f"{height / 72}"}
    return kind(text, **place, **attributes)


@functools.cache
def embedded(png):
    """An icon, twice as fine as it is drawn, which is right for most screens."""
    dot = Digraph(
        graph_attr={"bgcolor": "transparent", "dpi": str(2 * ICON), "margin": "0", "pad": "0"},
        node_attr={
            "fixedsize": "true",
            "height": "1",
            "label": "",
            "margin": "0",
            "shape": "none",
            "width": "1",
        },
    )
    dot.node("icon", image=png, imagescale="true")
    return "data:image/png;base64," + base64.b64encode(dot.pipe(format="png")).decode()
