"""Line charts and heat maps as SVG, which needs no script: what a mark means is in its title, shown on hover."""

import html
import math
from collections.abc import Callable, Mapping, Sequence

# Distinguishable with any colour vision (Tol, "bright" and "muted").
COLOURS = ('#4477aa', '#ee6677', '#228833', '#aa3377', '#ccbb44', '#66ccee', '#882255', '#44aa99', '#999933', '#555555')
_WIDTH, _HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 34
_MAX_POINTS = 400
# From a point of a chart to its place in the picture.
Place = Callable[[float, float], tuple[float, float]]


def lines(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], label: str) -> str:
  """A chart of one line for each series.

  Args:
    series: name -> positions and values
    label: of the horizontal axis
  """
  known = {name: _thinned(x, y) for name, (x, y) in series.items()}
  known = {name: points for name, points in known.items() if points}
  if not known:
    return ''
  xs = [x for points in known.values() for x, _ in points]
  ys = [y for points in known.values() for _, y in points]
  x_range, y_range = _range(xs), _range(ys)
  place: Place = lambda x, y: (
    _LEFT + (x - x_range[0]) / (x_range[1] - x_range[0]) * (_WIDTH - _LEFT - _RIGHT),
    _HEIGHT - _BOTTOM - (y - y_range[0]) / (y_range[1] - y_range[0]) * (_HEIGHT - _TOP - _BOTTOM),
  )
  parts = [_axes(x_range, y_range, place, label)]
  for number, (name, points) in enumerate(known.items()):
    colour = COLOURS[number % len(COLOURS)]
    path = ' '.join(f'{x:.1f},{y:.1f}' for x, y in (place(*point) for point in points))
    parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
    for x, y in points if len(points) <= 60 else ():
      at = place(x, y)
      title = html.escape(f'{name}, {label} {number_text(x)}: {number_text(y)}')
      parts.append(f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="3" fill="{colour}"><title>{title}</title></circle>')
  legend = ''.join(
    f'<span class="key"><i style="background:{COLOURS[number % len(COLOURS)]}"></i>{html.escape(name)}</span>'
    for number, name in enumerate(known)
  )
  return f'<figure>{_svg(_WIDTH, _HEIGHT, parts)}<figcaption>{legend}</figcaption></figure>'


def heat_map(
  rows: Sequence[str],
  columns: Sequence[str],
  values: Sequence[Sequence[float]],
  highest: float,
  axes: tuple[str, str],
  marked: Mapping[tuple[int, int], str] = {},
) -> str:
  """A coloured field for each value: white for 0, dark for `highest`.

  Args:
    rows, columns: their names
    values: of each row, in the order of the columns
    highest: the value of the darkest colour
    axes: what rows and columns are, for titles
    marked: (row, column) -> what is remarkable there; such fields have a frame
  """
  left = 8 + 6.2 * max((len(name) for name in rows), default=0)
  width = max(6.0, min(26.0, (900 - left) / max(1, len(columns))))
  height = 18.0
  parts = []
  for r, (row, of_row) in enumerate(zip(rows, values, strict=True)):
    y = 4 + r * height
    parts.append(f'<text x="{left - 5:.1f}" y="{y + 13:.1f}" text-anchor="end">{html.escape(row)}</text>')
    for c, value in enumerate(of_row):
      note = marked.get((r, c), '')
      title = f'{axes[0]} {row}, {axes[1]} {columns[c]}: {number_text(value)}{f", {note}" if note else ""}'
      frame = ' stroke="#cc3311" stroke-width="2"' if note else ''
      parts.append(
        f'<rect x="{left + c * width:.1f}" y="{y:.1f}" width="{width - 1:.1f}" height="{height - 1:.1f}" '
        f'fill="{_shade(value / highest if highest else 0.0)}"{frame}><title>{html.escape(title)}</title></rect>'
      )
  bottom = 4 + len(rows) * height
  every = max(1, math.ceil(28 / width))
  for c in range(0, len(columns), every):
    x = left + (c + 0.5) * width
    parts.append(f'<text x="{x:.1f}" y="{bottom + 13:.1f}" text-anchor="middle">{html.escape(columns[c])}</text>')
  parts.append(f'<text x="{left:.1f}" y="{bottom + 28:.1f}">{html.escape(axes[1])}</text>')
  return f'<figure>{_svg(left + len(columns) * width + 8, bottom + 34, parts)}</figure>'


def number_text(value: float) -> str:
  """A number for people: 4 significant digits, thousands separated.

  >>> number_text(12345.0), number_text(0.123456)
  ('12,345', '0.1235')
  """
  return f'{value:,.0f}' if abs(value) >= 1000 or float(value).is_integer() else f'{value:.4g}'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
  # Not narrower than what can be read: a phone scrolls.
  size = f'max-width:{width:.0f}px;min-width:{min(width, 480):.0f}px'
  return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" style="{size}" role="img">{"".join(parts)}</svg>'


def _axes(x_range: tuple[float, float], y_range: tuple[float, float], place: Place, label: str) -> str:
  parts = []
  for i in range(5):
    y = y_range[0] + i / 4 * (y_range[1] - y_range[0])
    _, at = place(x_range[0], y)
    parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>')
    parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{number_text(_round(y))}</text>')
  for x in sorted({round(x_range[0] + i / 4 * (x_range[1] - x_range[0])) for i in range(5)}):
    at, _ = place(x, y_range[0])
    parts.append(f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 14}" text-anchor="middle">{number_text(x)}</text>')
  parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end">{html.escape(label)}</text>')
  return ''.join(parts)


def _round(value: float) -> float:
  return float(f'{value:.3g}')


def _thinned(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
  """The points that are numbers, at most `_MAX_POINTS` of them, the first and the last among them."""
  points = [(float(a), float(b)) for a, b in zip(x, y, strict=True) if b is not None and math.isfinite(b)]
  if len(points) <= _MAX_POINTS:
    return points
  step = (len(points) - 1) / (_MAX_POINTS - 1)
  return [points[round(i * step)] for i in range(_MAX_POINTS)]


def _range(values: Sequence[float]) -> tuple[float, float]:
  low, high = min(values), max(values)
  return (low, high) if high > low else (low - 0.5, high + 0.5)


def _shade(share: float) -> str:
  """From white to dark blue."""
  share = min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0
  channels = (round(white + (dark - white) * share) for white, dark in ((255, 8), (255, 48), (255, 107)))
  return '#' + ''.join(f'{channel:02x}' for channel in channels)
