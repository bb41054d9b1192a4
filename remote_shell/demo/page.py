"""A lesson as one page of HTML: all in one file, no script, nothing from a network (its own policy forbids both).

Neighbours: `svg` draws the pictures; pygments, which comes with rich, colours the programs.
"""

from __future__ import annotations

import html

from remote_shell.demo import elements, svg
from remote_shell.demo.elements import Dump, Element, Shown
from remote_shell.demo.layout import marked, visible

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2937; --paper: #ffffff; --soft: #f3f4f6; --line: #d1d5db; --link: #1d4ed8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e5e7eb; --paper: #111827; --soft: #1f2937; --line: #374151; --link: #93c5fd; } }
body { font: 17px/1.6 system-ui, "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; color: var(--ink);
  background: var(--paper); max-width: 800px; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Noto Sans Mono CJK SC", monospace; }
code { background: var(--soft); border-radius: 4px; padding: .1em .3em; font-size: .88em; } p { overflow-wrap: anywhere; }
pre { background: var(--soft); border-radius: 8px; padding: .8rem 1rem; overflow-x: auto; font-size: 13px; line-height: 1.45; }
pre.source { background: #f8f8f5; color: #1f2937; } dfn { font-weight: bold; }
:lang(zh) dfn, :lang(zh) .source span { font-style: normal !important; }
svg { max-width: 100%; height: auto; } figure { margin: 1.2rem 0; } figcaption, .quiet { color: #6b7280; font-size: .9em; }
table { border-collapse: collapse; width: 100%; font-size: .9em; } th, td { text-align: left; vertical-align: top; padding: .35rem .6rem;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
@media (min-width: 800px) { th, td { overflow-wrap: break-word; } figure { overflow-x: auto; } }
.shown, .missed { border-left: 4px solid #15803d; background: var(--soft); padding: .5rem .9rem; border-radius: 0 6px 6px 0; }
.missed { border-color: #dc2626; } dl.words { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .92em; }
dl.words dt { font-weight: bold; } dl.words dd { margin: 0; }
.dump b { font-weight: normal; color: #fff; } .dump i { border-left: 3px solid #dc2626; margin-left: -3px; }
.legend b { display: inline-block; width: 1em; height: 1em; vertical-align: -2px; margin-right: .5em; }
.legend { list-style: none; padding: 0; font-size: .88em; overflow-wrap: anywhere; }
"""


def page(shown: Shown) -> str:
    """The whole page."""
    body = "\n".join(_element(element, zh=shown.language == "zh") for element in shown.elements)
    title = html.escape(shown.title)
    return f"""<!DOCTYPE html>
<html lang="{"zh-CN" if shown.language == "zh" else "en"}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def _element(element: Element, *, zh: bool) -> str:
    match element:
        case elements.Heading():
            return f"<h2>{_marked(element.text)}</h2>"
        case elements.Paragraph():
            return f"<p>{_marked(element.text)}</p>"
        case elements.Words():
            entries = "".join(
                f"<dt>{html.escape(word)}</dt><dd>{_marked(meaning)}</dd>" for word, meaning in element.entries
            )
            return f'<p class="quiet">{"本课用到的词" if zh else "Words that this lesson uses"}</p><dl class="words">{entries}</dl>'
        case elements.Program():
            names = ("程序：", "单独运行：") if zh else ("The program: ", "Run it alone: ")
            return f"<p>{names[0]}<code>{_plain(element.path)}</code><br>{names[1]}<code>{_plain(element.command)}</code></p>"
        case elements.Source():
            return _source(element)
        case elements.Table():
            return _table(element)
        case elements.Output():
            return _figure(f"<pre>{_plain(element.text)}</pre>", element.caption)
        case elements.Claim():
            kind, sign = (
                ("shown", "✓ ")
                if element.shown
                else ("missed", "✗ 这一次没有出现：" if zh else "✗ This run did not show it: ")
            )
            return f'<p class="{kind}">{sign}{_marked(element.text)}</p>'
        case Dump():
            return _figure(_dump(element), element.caption)
        case _:
            return _figure(svg.picture(element), element.caption)


def _plain(text: str) -> str:
    return html.escape(visible(text))


def _marked(text: str) -> str:
    tags = {"plain": "{}", "code": "<code>{}</code>", "term": "<dfn>{}</dfn>"}
    return "".join(tags[mark].format(html.escape(part)) for mark, part in marked(visible(text)))


def _figure(body: str, caption: str) -> str:
    above = f"<figcaption>{_marked(caption)}</figcaption>" if caption else ""
    return f"<figure>{above}{body}</figure>"


def _source(element: elements.Source) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    coloured = highlight(element.code, PythonLexer(), HtmlFormatter(noclasses=True, nowrap=True))
    lines = coloured.rstrip("\n").split("\n")
    last = len(str(element.first + len(lines)))
    numbered = "\n".join(
        f'<span class="quiet">{element.first + at:>{last}}</span>  {line}' for at, line in enumerate(lines)
    )
    return _figure(f'<pre class="source">{numbered}</pre>', f"`{element.name}`")


def _table(element: elements.Table) -> str:
    head = "".join(f"<th>{_marked(cell)}</th>" for cell in element.head)
    rows = "".join("<tr>" + "".join(f"<td>{_marked(cell)}</td>" for cell in row) + "</tr>" for row in element.rows)
    return _figure(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>", element.caption)


def _dump(element: Dump) -> str:
    colours = [elements.GREY] * len(element.data)
    for span in element.spans:
        colours[span.start : span.end] = [span.colour] * (min(span.end, len(colours)) - span.start)
    lines = []
    for begin in range(0, len(element.data), 16):
        chunk = element.data[begin : begin + 16]
        bytes_ = " ".join(
            ("<i></i>" if begin + at in element.cuts else "")
            + f'<b style="background:{svg.FILLS[colours[begin + at]]}">{byte:02x}</b>'
            for at, byte in enumerate(chunk)
        )
        text = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in chunk)
        lines.append(f"{begin:04x}  {bytes_}{'   ' * (16 - len(chunk))}  {html.escape(text)}")
    legend = "".join(
        f'<li><b style="background:{svg.FILLS[span.colour]}"></b>{_span(span)}</li>' for span in element.spans
    )
    return f'<pre class="dump">{chr(10).join(lines)}</pre><ul class="legend">{legend}</ul>'


def _span(span: elements.Span) -> str:
    place = f"{span.start}–{span.end - 1}" if span.end - span.start > 1 else f"{span.start}"
    return f"{place}: {_plain(span.text)}"
