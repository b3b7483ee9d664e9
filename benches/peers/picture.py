"""The picture of what `run.py` measured: bars, readable on light and on dark ground."""

from xml.sax.saxutils import escape

WIDTH, BAR, GAP, LABEL, TOP = 760, 18, 9, 190, 34
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .note { font-size: 11px; fill: #59636e }
.ours { fill: #1a7f37 } .other { fill: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note { fill: #9198a1 } .ours { fill: #3fb950 } .other { fill: #6e7681 }
}
"""


def panel(top, title, note, rows, text):
    """Bars of `rows`, each a name and a value, in proportion."""
    greatest = max(value for _, value in rows)
    lines = [f'<text class="title" x="0" y="{top + 14}">{escape(title)}</text>']
    lines.append(f'<text class="note" x="{WIDTH}" y="{top + 14}" text-anchor="end">{escape(note)}</text>')
    for at, (name, value) in enumerate(rows):
        y = top + TOP - 8 + at * (BAR + GAP)
        width = max(1.5, value / greatest * (WIDTH - LABEL - 130))
        kind = "ours" if name == "callveil" else "other"
        lines.append(f'<text x="{LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
        lines.append(f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>')
        lines.append(f'<text x="{LABEL + width + 6:.1f}" y="{y + 13}">{escape(text(value))}</text>')
    return lines, top + TOP + len(rows) * (BAR + GAP) + 12


def draw(results, stored):
    # By CPU: wrk, which sleeps, does not keep the fastest of them busy.
    rates = [(it["name"], 1e6 / it["cpu"]) for it in results]
    memory = [(it["name"], it["memory"] / 2**20) for it in results]
    first, top = panel(0, "Requests for a second of CPU", "one number a request; more is better", rates, "{:,.0f}".format)
    note = f"all its processes, {stored:,} numbers stored; less is better"
    second, height = panel(top, "Memory, MiB", note, memory, "{:,.0f}".format)
    names = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-4 -4 {WIDTH + 8} {height}" role="img">'
    title = f"<title>Requests for a second of CPU: {escape(names)}</title>"
    return "\n".join([head, title, f"<style>{STYLE}</style>", *first, *second, "</svg>"]) + "\n"
