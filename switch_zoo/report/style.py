"""The page's style sheet and script."""

CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 0 auto; max-width: 1000px; padding: 16px; }
h1 { font-size: 1.5rem; margin: 0 0 4px; } h2 { font-size: 1.2rem; margin: 36px 0 6px; } h3 { font-size: 1rem; }
p.about { color: #555; margin: 0 0 8px; max-width: 75ch; }
nav a { margin-right: 14px; }
figure { margin: 8px 0; overflow-x: auto; } svg { width: 100%; height: auto; font: 11px system-ui, sans-serif; }
svg .grid { stroke: #ddd; }
.key { margin-right: 14px; white-space: nowrap; }
.key i { display: inline-block; width: 11px; height: 11px; margin-right: 4px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; }
td, th { padding: 2px 10px 2px 0; text-align: left; vertical-align: top; border-bottom: 1px solid #eee; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
code, .piece { font-family: ui-monospace, monospace; }
.piece { background: #f2f2f2; padding: 0 3px; border-radius: 3px; }
.text { line-height: 2; overflow-wrap: anywhere; } .text span { padding: 2px 0; border-radius: 2px; cursor: default; }
.text p { margin: 0 0 8px; } select { font: inherit; max-width: 100%; } .hover { min-height: 1.5em; color: #555; }
details { margin: 6px 0; } summary { cursor: pointer; }
"""

SCRIPT = """
for (const box of document.querySelectorAll('[data-coloured]')) {
  const data = JSON.parse(document.getElementById(box.dataset.coloured).textContent);
  const select = box.querySelector('select'), hover = box.querySelector('.hover');
  const spans = [...box.querySelectorAll('.text span')];
  const paint = () => spans.forEach((span, i) => {
    const expert = data.experts[select.value][i], gate = data.gates[select.value][i];
    span.style.background = expert < 0 ? '' : `hsla(${(expert * 137.508) % 360}, 75%, 60%, ${0.15 + 0.75 * gate})`;
  });
  spans.forEach((span, i) => span.addEventListener('mouseenter', () => {
    const experts = data.layers.map((name, l) => `${name}: ${data.experts[l][i]} (${data.gates[l][i]})`);
    hover.textContent = `${data.pieces[i]}  -  ${experts.join(',  ')}`;
  }));
  select.addEventListener('change', paint);
  paint();
}
"""
