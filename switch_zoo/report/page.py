"""The HTML page: self-contained, without network, in the order in which people ask."""

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from switch_zoo.demo.expert_load import layer_title
from switch_zoo.report import style, svg
from switch_zoo.spec.config import ModelConfig

_MAX_EXPERTS = 64
_MAX_COLUMNS = 60


def html_page(title: str, config: ModelConfig, training: Mapping[str, Any], texts: Mapping[str, Any] | None) -> str:
  """The page.

  Args:
    title: of the page
    config: of the model
    training: of `findings.of_training`
    texts: of `findings.of_texts`; None: no text was given
  """
  sections = [
    ('Training', _training(training)),
    ('Experts during training', _experts_in_training(training)),
    *(_of_texts(texts, config) if texts and config.num_experts else []),
    ('Configuration', _configuration(config)),
  ]
  shown = [(name, body) for name, body in sections if body]
  links = ''.join(f'<a href="#{_anchor(name)}">{html.escape(name)}</a>' for name, _ in shown)
  bodies = ''.join(f'<h2 id="{_anchor(name)}">{html.escape(name)}</h2>{body}' for name, body in shown)
  return (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
    f'<title>{html.escape(title)}</title><style>{style.CSS}</style></head><body>'
    f'<h1>{html.escape(title)}</h1><p class="about">{_headline(config)}</p><nav>{links}</nav>{bodies}'
    f'<script>{style.SCRIPT}</script></body></html>\n'
  )


def _headline(config: ModelConfig) -> str:
  experts = f', {config.num_experts} experts' if config.num_experts else ', no experts'
  return f'{html.escape(config.name)}: {config.num_parameters:,} parameters{experts}'


def _about(text: str) -> str:
  return f'<p class="about">{html.escape(text)}</p>'


def _training(training: Mapping[str, Any]) -> str:
  scalars, parts = training['scalars'], []
  losses = {name: _points(scalars[name]) for name in ('loss', 'loss/cross_entropy') if name in scalars}
  if losses:
    parts.append('<h3>Loss</h3>' + svg.lines(losses, 'step'))
  rate = {name: _points(scalars[name]) for name in ('learning_rate',) if name in scalars}
  if rate:
    parts.append('<h3>Learning rate</h3>' + svg.lines(rate, 'step'))
  by_metric: dict[str, dict[str, Any]] = {}
  for name, series in training['validations'].items():
    task, _, metric = name.rpartition('/')
    by_metric.setdefault(metric, {})[task] = _points(series)
  for metric, series in by_metric.items():
    parts.append(f'<h3>Validation: {html.escape(metric)}</h3>' + svg.lines(series, 'step'))
  return ''.join(parts) or _about('The folder has no metrics.jsonl, so the course of the training is not known.')


def _experts_in_training(training: Mapping[str, Any]) -> str:
  layers, parts = training['layers'], []
  for quantity, about in (
    ('dropped', 'Share of the tokens that found no slot at their expert, and passed the layer unchanged.'),
    ('entropy', 'Mean entropy of the router in nats: 0 where it is sure, ln(experts) where it does not care.'),
  ):
    series = {_short(layer): _points(of_layer[quantity]) for layer, of_layer in layers.items() if quantity in of_layer}
    if series:
      parts.append(f'<h3>{"Dropped tokens" if quantity == "dropped" else "Entropy"}</h3>{_about(about)}')
      parts.append(svg.lines(series, 'step'))
  loads = {layer: of_layer for layer, of_layer in layers.items() if 'load' in of_layer}
  if loads:
    parts.append('<h3>Load</h3>' + _about(_ABOUT_LOAD))
    parts += [_load_over_training(layer, of_layer) for layer, of_layer in loads.items()]
  return ''.join(parts)


_ABOUT_LOAD = (
  'Share of the tokens that chose each expert first, over the training. A frame marks experts that are dead (less than '
  'a tenth of the equal share) or overloaded (more than the slots that training gives them) in its second half.'
)


def _load_over_training(layer: str, of_layer: Mapping[str, Any]) -> str:
  steps, values = of_layer['load']['steps'], of_layer['load']['values']
  chosen = sorted({round(i * (len(steps) - 1) / (_MAX_COLUMNS - 1)) for i in range(_MAX_COLUMNS)})
  experts = _shown_experts(of_layer['settled_load'])
  fields = [[values[i][expert] for i in chosen] for expert in experts]
  notes = {**dict.fromkeys(of_layer['dead'], 'dead'), **dict.fromkeys(of_layer['overloaded'], 'overloaded')}
  marked = {(row, len(chosen) - 1): notes[expert] for row, expert in enumerate(experts) if expert in notes}
  equal = 1 / len(of_layer['settled_load'])
  summary = f'{layer_title(layer)}: {len(of_layer["dead"])} dead, {len(of_layer["overloaded"])} overloaded'
  left_out = len(of_layer['settled_load']) - len(experts)
  note = (
    _about(f'The experts with the highest and lowest load; {left_out} between them are not shown.') if left_out else ''
  )
  chart = svg.heat_map(
    [str(e) for e in experts], [f'{steps[i]:,}' for i in chosen], fields, 3 * equal, ('expert', 'step'), marked
  )
  return f'<details open><summary>{html.escape(summary)}</summary>{note}{chart}</details>'


def _shown_experts(load: Sequence[float]) -> list[int]:
  """All experts, or those with the highest and the lowest load where there are too many."""
  order = sorted(range(len(load)), key=lambda expert: -load[expert])
  if len(order) <= _MAX_EXPERTS:
    return list(range(len(load)))
  return order[: _MAX_EXPERTS // 2] + order[-_MAX_EXPERTS // 2 :]


def _of_texts(texts: Mapping[str, Any], config: ModelConfig) -> list[tuple[str, str]]:
  stacks = texts['stacks']
  return [
    ('Experts and text', _load_on_text(stacks, texts, config)),
    ('Text, coloured by expert', ''.join(_coloured(stack, of_stack) for stack, of_stack in stacks.items())),
    ('What experts take', _takes(stacks, len(texts['domains']) > 1)),
    ('From layer to layer', _transitions(stacks)),
    ('Checkpoints', _checkpoints(texts)),
  ]


def _load_on_text(stacks: Mapping[str, Any], texts: Mapping[str, Any], config: ModelConfig) -> str:
  parts = [
    _about(
      f'{texts["texts"]:,} texts of {", ".join(texts["domains"])}. Padding, ends and sentinels are left out; every '
      'token has room. Fields are the share of the tokens of each expert; dead and overloaded ones have a frame.'
    )
  ]
  for stack, of_stack in stacks.items():
    layers = of_stack['layers']
    if not layers:
      continue
    experts = _shown_experts(next(iter(layers.values()))['load'])
    rows = [f'{_short(layer)}  H {of_layer["entropy"]:.2f}' for layer, of_layer in layers.items()]
    marked = {
      (row, experts.index(expert)): note
      for row, of_layer in enumerate(layers.values())
      for note in ('dead', 'overloaded')
      for expert in of_layer[note]
      if expert in experts
    }
    fields = [[of_layer['load'][expert] for expert in experts] for of_layer in layers.values()]
    names = [str(expert) for expert in experts]
    chart = svg.heat_map(rows, names, fields, 3 / config.num_experts, ('layer', 'expert'), marked)
    parts.append(f'<h3>{html.escape(stack)}: {of_stack["text_tokens"]:,} tokens of text</h3>{chart}')
  return ''.join(parts)


def _coloured(stack: str, of_stack: Mapping[str, Any]) -> str:
  data = of_stack['coloured']
  if not data['layers'] or not data['pieces']:
    return ''
  data = {**data, 'layers': [_short(layer) for layer in data['layers']]}
  options = ''.join(f'<option value="{n}">{html.escape(name)}</option>' for n, name in enumerate(data['layers']))
  paragraphs, current = [[]], data['sequence'][0]
  for piece, sequence in zip(data['pieces'], data['sequence'], strict=True):
    if sequence != current:
      paragraphs.append([])
      current = sequence
    paragraphs[-1].append(f'<span>{html.escape(piece).replace("▁", " ")}</span>')
  body = ''.join(f'<p>{"".join(spans)}</p>' for spans in paragraphs)
  # A text may contain "</script>".
  document = json.dumps(data).replace('<', '\\u003c')
  return (
    f'<h3>{html.escape(stack)}</h3><div data-coloured="coloured-{stack}">'
    f'<label>Layer <select>{options}</select></label>'
    f'<p class="hover about">Strong colours: high gates. Point at a token.</p><div class="text">{body}</div></div>'
    f'<script type="application/json" id="coloured-{stack}">{document}</script>'
  )


def _takes(stacks: Mapping[str, Any], domains: bool) -> str:
  parts = [
    _about(
      'Groups of tokens that an expert takes more often than in any of 20 shufflings of the tokens; the rest is noise '
      'and is not listed. Lift: how many times as often as by chance. Deviations: standard deviations above chance.'
    )
  ]
  for of_stack in stacks.values():
    for layer, of_layer in of_stack['layers'].items():
      tables = [('Tokens', of_layer['pieces']), ('Kinds of tokens', of_layer['kinds'])]
      if domains:
        tables.append(('Texts', of_layer['domains']))
      body = ''.join(_associations(name, of_table) for name, of_table in tables)
      parts.append(f'<details><summary>{html.escape(layer_title(layer))}</summary>{body}</details>')
  return ''.join(parts) if len(parts) > 1 else ''


def _associations(name: str, table: Mapping[str, Any]) -> str:
  if not table['listed']:
    return f'<h3>{html.escape(name)}</h3>' + _about('Nothing beyond noise.')
  rows = ''.join(
    f'<tr><td class="n">{row["expert"]}</td><td><span class="piece">{html.escape(row["group"])}</span></td>'
    f'<td class="n">{row["count"]:,}</td><td class="n">{row["lift"]:.2f}</td>'
    f'<td class="n">{row["deviations"]:.1f}</td></tr>'
    for row in table['listed']
  )
  more = (
    f', the strongest {len(table["listed"])} of {table["found"]:,}' if table['found'] > len(table['listed']) else ''
  )
  head = '<tr><th>expert</th><th></th><th>tokens</th><th>lift</th><th>deviations</th></tr>'
  caption = f'{name}{more}; noise reaches {table["noise"]:.1f} deviations'
  return f'<h3>{html.escape(caption)}</h3><div class="wide"><table>{head}{rows}</table></div>'


def _transitions(stacks: Mapping[str, Any]) -> str:
  parts = []
  for of_stack in stacks.values():
    for step in of_stack['transitions']:
      experts = list(range(min(len(step['shares']), _MAX_EXPERTS)))
      names = [str(expert) for expert in experts]
      fields = [[step['shares'][a][b] for b in experts] for a in experts]
      title = f'{_short(step["from"])} to {_short(step["to"])}: mutual information {step["mutual_information"]:.3f}'
      chart = svg.heat_map(names, names, fields, max(map(max, fields)), ('from expert', 'to expert'))
      parts.append(f'<details><summary>{html.escape(title)}</summary>{chart}</details>')
  if not parts:
    return ''
  about = (
    'Where the tokens of each expert go in the next sparse layer. Mutual information: 0 if one choice says nothing '
    'about the next, 1 if it decides it.'
  )
  return _about(about) + ''.join(parts)


def _checkpoints(texts: Mapping[str, Any]) -> str:
  parts, columns = [], []
  for checkpoint in texts['checkpoints']:
    columns.append((f'step {checkpoint["step"]:,}', checkpoint['layers']))
  if 'compared' in texts:
    columns.append((texts['compared']['folder'], texts['compared']['layers']))
  if not columns:
    return ''
  head = ''.join(f'<th>{html.escape(name)}</th>' for name, _ in columns)
  for layer in columns[0][1]:
    cells = ''.join(
      f'<td class="n">{of_layers[layer]["agreement"]:.1%} / {of_layers[layer]["mutual_information"]:.3f}</td>'
      for _, of_layers in columns
    )
    parts.append(f'<tr><td>{html.escape(layer_title(layer))}</td>{cells}</tr>')
  about = (
    'How many tokens go to the expert of the same number as with the weights of this report, and the mutual '
    'information of both choices, which does not depend on how experts are numbered: compare seeds by it.'
  )
  return _about(about) + f'<div class="wide"><table><tr><th>layer</th>{head}</tr>{"".join(parts)}</table></div>'


def _configuration(config: ModelConfig) -> str:
  fields = config.as_dict()
  places = fields.pop('places')
  rows = ''.join(
    f'<tr><td><code>{html.escape(name)}</code></td><td>{html.escape(str(value))}</td>'
    f'<td>{html.escape(places.get(name, ""))}</td></tr>'
    for name, value in fields.items()
    if isinstance(value, (str, int, float, list, tuple)) or value is None
  )
  return f'<div class="wide"><table><tr><th>setting</th><th>value</th><th>from</th></tr>{rows}</table></div>'


def _points(series: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
  return series['steps'], series['values']


def _short(layer: str) -> str:
  """'encoder 0.3' of 'encoder/block_000/layer_003/MoE1D'."""
  parts = layer.split('/')
  if len(parts) < 3:
    return layer
  return f'{parts[0]} {int(parts[1].rpartition("_")[2])}.{int(parts[2].rpartition("_")[2])}'


def _anchor(name: str) -> str:
  return ''.join(character if character.isalnum() else '-' for character in name.lower())
