"""Formulas as MathML, made when the site is built: ``$...$`` in a line, ``$$ ... \\tag{DL, 64, 88} $$`` as a paragraph.

A tag names the equation of a paper that a formula is; the formula then is a place that citations lead to, and says
where the code computes it.
"""

import re
from collections.abc import Callable
from xml.etree.ElementTree import Element, SubElement

from citations import TAG, anchor, numbers
from latex2mathml.converter import convert
from markdown import Markdown
from markdown.blockprocessors import BlockProcessor
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor

INLINE = r"(?<![\\$])\$(?![\s$])([^$]+?)(?<![\\\s])\$(?!\d)"

#: What to say below an equation (key, numbers): Markdown.
Caption = Callable[[str, list[str]], str]


class Inline(InlineProcessor):
    """A formula in a line."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # noqa: N802
        return self.md.htmlStash.store(convert(m[1])), m.start(0), m.end(0)


class Display(BlockProcessor):
    """A formula as a paragraph; blank lines end no formula."""

    def __init__(self, parser: object, caption: Caption) -> None:
        super().__init__(parser)
        self.caption = caption

    def test(self, parent: Element, block: str) -> bool:
        return block.lstrip().startswith("$$")

    def run(self, parent: Element, blocks: list[str]) -> None:
        text = blocks.pop(0).strip()
        while not re.search(r"\S\s*\$\$$", text):
            text += "\n" + blocks.pop(0).rstrip()
        text = text.removeprefix("$$").removesuffix("$$")
        tags = [(tag[1], numbers(tag[2])) for tag in TAG.finditer(text)]
        box = SubElement(parent, "div", {"class": "equation"})
        for key, each in tags:
            for number in each:
                SubElement(box, "span", {"id": anchor(key, number)})
        formula = SubElement(box, "p", {"class": "formula"})
        formula.text = self.parser.md.htmlStash.store(convert(TAG.sub("", text).strip(), display="block"))
        for key, each in tags:
            where = SubElement(box, "p", {"class": "where"})
            where.text = self.caption(key, each)


class Formulas(Extension):
    """Both kinds of formulas."""

    def __init__(self, caption: Caption) -> None:
        super().__init__()
        self.caption = caption

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        md.inlinePatterns.register(Inline(INLINE, md), "formula", 185)  # below code, above escapes
        md.parser.blockprocessors.register(Display(md.parser, self.caption), "formula", 105)
