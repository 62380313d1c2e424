"""The grounds that displays are looked at on: notebooks' themes as far as they reach what is shown, and how well its
text stands out, by the browser's own account."""

LAB = """
.jp-RenderedHTMLCommon { color: var(--jp-content-font-color1); font-family: var(--jp-content-font-family);
    font-size: 14px; line-height: 1.6; }
.jp-RenderedHTMLCommon table { border-collapse: collapse; border: none; font-size: 12px; table-layout: fixed;
    margin-left: auto; margin-bottom: 1em; margin-right: auto; }
.jp-RenderedHTMLCommon td, .jp-RenderedHTMLCommon th, .jp-RenderedHTMLCommon tr { vertical-align: middle;
    padding: .5em; line-height: normal; white-space: normal; max-width: none; border: none; text-align: right; }
.jp-RenderedHTMLCommon tbody tr:nth-child(odd) { background: var(--stripe); }
.jp-RenderedHTMLCommon ul { list-style: disc; padding-left: 2em; }
body { background: var(--jp-layout-color0); margin: 0; padding: 12px; }
"""

THEMES = {
    "lab-light": LAB
    + """:root { --jp-layout-color0: #fff; --jp-content-font-color1: rgba(0,0,0,.87); --stripe: #f5f5f5;
        --jp-ui-font-family: system-ui, sans-serif; --jp-content-font-family: system-ui, sans-serif;
        --jp-code-font-family: 'DejaVu Sans Mono', monospace; }""",
    "lab-dark": LAB
    + """:root { --jp-layout-color0: #111; --jp-content-font-color1: #fff; --stripe: #212121;
        --jp-ui-font-family: system-ui, sans-serif; --jp-content-font-family: system-ui, sans-serif;
        --jp-code-font-family: 'DejaVu Sans Mono', monospace; color-scheme: dark; }""",
    "code-light": "body { background: #fff; color: #3b3b3b; font: 13px system-ui, sans-serif; padding: 12px; }",
    "code-dark": "body { background: #1f1f1f; color: #ccc; font: 13px system-ui, sans-serif; padding: 12px; }",
    "classic": """body { background: #fff; color: #000; font: 14px/20px 'Helvetica Neue', Helvetica, Arial, sans-serif;
        padding: 12px; }
        table { margin: 0 auto; border: 1px solid black; } tbody tr:nth-child(odd) { background: #f5f5f5; }
        td, th { text-align: right; vertical-align: middle; padding: .5em; }""",
}
"""JupyterLab's and VS Code's, light and dark, and the classic notebook's: its variables, its tables."""

CONTRASTS = """() => {
    const parse = colour => {
        const found = colour.match(/rgba?\\(([^)]+)\\)/)[1].split(",").map(Number);
        return found.length === 3 ? [...found, 1] : found;
    };
    const over = (top, ground) => [0, 1, 2].map(i => top[i] * top[3] + ground[i] * (1 - top[3])).concat(1);
    const light = colour => {
        const [r, g, b] = colour.slice(0, 3).map(c => c / 255)
            .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (one, other) => {
        const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
    const ground = element => {
        const above = [];
        for (let at = element; at; at = at.parentElement) above.unshift(parse(getComputedStyle(at).backgroundColor));
        return above.reduce((below, top) => over(top, below), [255, 255, 255, 1]);
    };
    const opacity = element => element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1;
    const seen = [];
    for (const card of document.querySelectorAll(".labtether")) {
        for (const element of card.querySelectorAll("*")) {
            const texts = [...element.childNodes].filter(node => node.nodeType === 3);
            const words = texts.map(node => node.data.trim()).join(" ").trim();
            const isDot = element.classList.contains("labtether-dot");
            if (!words && !isDot) continue;
            const style = getComputedStyle(element);
            const below = ground(isDot ? element.parentElement : element);
            const ink = parse(isDot ? style.backgroundColor : style.color);
            ink[3] *= opacity(element);
            seen.push({words: isDot ? "(dot)" : words, ratio: ratio(over(ink, below), below),
                       align: style.textAlign, right: element.getBoundingClientRect().right});
        }
    }
    return seen;
}"""
"""What is read in the cards of a page, and its contrast to what is behind it."""
