"""Everything that the page shows and `--json` prints, as one document of plain values."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from switch_zoo.checkpoints import mesh_folder, sources
from switch_zoo.errors import UserError
from switch_zoo.keras import text
from switch_zoo.keras.export import check_vocabulary
from switch_zoo.keras.layers import zero_initialization
from switch_zoo.keras.model import SwitchTransformer
from switch_zoo.report import pieces, routed, statistics, task_texts, texts, training_record
from switch_zoo.spec.config import ModelConfig

# Tokens of text that the page colours, and the associations it lists for each layer.
_COLOURED_TOKENS = 900
_LISTED = 40
_NOTHING: dict[str, Any] = {'listed': [], 'noise': 0.0, 'found': 0}


def of_training(record: training_record.TrainingRecord, config: ModelConfig) -> dict[str, Any]:
  """What a training recorded: series of scalars and validations, and each layer's load."""
  series = lambda named: {name: {'steps': list(s.steps), 'values': list(s.values)} for name, s in named.items()}
  layers = {}
  for layer, quantities in record.layers.items():
    layers[layer] = series(quantities)
    if training_record.LOAD in quantities:
      shares = np.array(training_record.settled_load(quantities[training_record.LOAD]))
      layers[layer] |= {'settled_load': shares.tolist(), **_extremes(shares, config)}
  return {'scalars': series(record.scalars), 'validations': series(record.validations), 'layers': layers}


def of_texts(
  source: str,
  model_name: str | None,
  vocab: str | None,
  data: Sequence[str],
  limit: int,
  max_length: int,
  compared: str | None,
  report: Callable[[str], None],
) -> dict[str, Any]:
  """What the experts of a model do with texts.

  Args:
    source: folder of weights of any format; of a training, its checkpoints are compared with the last
    model_name: a name or gin file; None: read from the folder
    vocab: a vocabulary; None: that of the folder
    data: files, tasks and mixtures; each file and each task is a domain
    limit: texts in all
    max_length: tokens of each
    compared: another folder of weights of a model with the same layers; None: none
    report: is told what takes time
  Raises:
    UserError: no checkpoint, no vocabulary, or another one
  """
  weights = sources.open_source(source, model_name)
  vocabulary = text.vocabulary(vocab, source if os.path.isdir(source) else os.path.dirname(source))
  check_vocabulary(vocabulary, weights.config)
  names = pieces.Pieces(vocabulary.name_of_file)
  domains = task_texts.of_names(data)
  pairs = texts.read(domains, lambda batch: vocabulary.encode(tf.constant(list(batch))).to_list(), limit, max_length)
  report(f'Routing {sum(len(p.inputs) + len(p.targets) for p in pairs):,} tokens of {len(pairs):,} texts.')
  with zero_initialization():
    model = SwitchTransformer(weights.config)
  tokens = routed.route(_with_weights(model, weights), pairs)
  document: dict[str, Any] = {'texts': len(pairs), 'domains': [domain.name for domain in domains]}
  document['stacks'] = {
    stack: _of_stack(tokens[stack], names, document['domains'], weights.config) for stack in routed.STACKS
  }
  document['checkpoints'] = _against_others(model, pairs, tokens, _earlier(source), model_name, report)
  if compared is not None:
    document['compared'] = _compared(model, pairs, tokens, compared, model_name, report)
  return document


def _with_weights(model: SwitchTransformer, weights: Any) -> SwitchTransformer:
  if dict(model.config.variables) != dict(weights.config.variables):
    raise UserError(f'{weights.config.path} is a model of other sizes; checkpoints of the same model can be compared.')
  for name, weight in model.named_weights.items():
    weight.assign(weights.whole(name))
  return model


def _of_stack(
  tokens: routed.RoutedTokens, names: pieces.Pieces, domains: Sequence[str], config: ModelConfig
) -> dict[str, Any]:
  unique, number = np.unique(tokens.ids, return_inverse=True)
  kinds = np.array([names.kind(int(token)) for token in unique])[number]
  is_text = ~np.isin(kinds, pieces.APART)
  layers = {
    scope: _of_layer(layer, tokens, kinds, is_text, names, domains, config) for scope, layer in tokens.layers.items()
  }
  scopes = list(tokens.layers)
  experts = [tokens.layers[scope].experts[is_text, 0] for scope in scopes]
  between = [
    {
      'from': scopes[i],
      'to': scopes[i + 1],
      'shares': statistics.transitions(experts[i], experts[i + 1], config.num_experts).tolist(),
      'mutual_information': statistics.mutual_information(experts[i], experts[i + 1]),
    }
    for i in range(len(scopes) - 1)
  ]
  return {
    'tokens': len(tokens.ids),
    'text_tokens': int(is_text.sum()),
    'layers': layers,
    'transitions': between,
    'coloured': _coloured(tokens, names, scopes),
  }


def _of_layer(
  layer: routed.RoutedLayer,
  tokens: routed.RoutedTokens,
  kinds: np.ndarray,
  is_text: np.ndarray,
  names: pieces.Pieces,
  domains: Sequence[str],
  config: ModelConfig,
) -> dict[str, Any]:
  """Of the tokens that are text; the others only as a kind."""
  first, experts = layer.experts[:, 0], config.num_experts
  shares = statistics.load(first[is_text], experts)
  unique, number = np.unique(tokens.ids[is_text], return_inverse=True)
  kind_names, kind_number = np.unique(kinds, return_inverse=True)
  of = lambda groups, labels, chosen: _associated(groups, labels, first[chosen], experts)
  return {
    'load': shares.tolist(),
    'entropy': statistics.entropy(layer.probabilities[is_text]),
    'mean_gate': float(layer.probabilities[is_text].max(-1).mean()) if is_text.any() else 0.0,
    **_extremes(shares, config),
    'pieces': of(number, [names.text(int(token)) for token in unique], is_text),
    'kinds': of(kind_number, kind_names.tolist(), np.ones_like(is_text)),
    'domains': of(tokens.domain[is_text], domains, is_text)
    if len(domains) > 1
    else {'listed': [], 'noise': 0.0, 'found': 0},
    'domain_shares': (
      statistics.counts(tokens.domain[is_text], first[is_text], len(domains), experts).tolist()
      if len(domains) > 1
      else []
    ),
  }


def _extremes(shares: np.ndarray, config: ModelConfig) -> dict[str, list[int]]:
  return {
    'dead': statistics.dead(shares).tolist(),
    'overloaded': statistics.overloaded(shares, config.capacity_factor_train).tolist(),
  }


def _associated(group: np.ndarray, labels: Sequence[str], expert: np.ndarray, num_experts: int) -> dict[str, Any]:
  if not len(group):
    return _NOTHING
  strong, noise = statistics.associations(group, expert, len(labels), num_experts)
  listed = [{**found._asdict(), 'group': labels[found.group]} for found in strong[:_LISTED]]
  return {'listed': listed, 'noise': noise, 'found': len(strong)}


def _coloured(tokens: routed.RoutedTokens, names: pieces.Pieces, scopes: Sequence[str]) -> dict[str, Any]:
  """The first texts, whole, with the expert and the gate of each token in each layer."""
  last = tokens.sequence[min(_COLOURED_TOKENS, len(tokens.ids)) - 1]
  count = int((tokens.sequence <= last).sum()) if last == 0 else int((tokens.sequence < last).sum())
  gates = [tokens.layers[scope].probabilities[:count].max(-1) for scope in scopes]
  return {
    'pieces': [names.text(int(token)) for token in tokens.ids[:count]],
    'sequence': tokens.sequence[:count].tolist(),
    'experts': [tokens.layers[scope].experts[:count, 0].tolist() for scope in scopes],
    'gates': [[round(float(gate), 3) for gate in column] for column in gates],
    'layers': list(scopes),
  }


def _earlier(source: str) -> list[str]:
  """The checkpoints of a training before its newest one."""
  if not os.path.isdir(source):
    return []
  newest = mesh_folder.newest(source)
  if newest is None:
    return []
  return [path for path in mesh_folder.prefixes_in(source) if path != newest.prefix and mesh_folder.is_whole(path)]


def _against_others(
  model: SwitchTransformer,
  pairs: Sequence[texts.TextPair],
  tokens: Mapping[str, routed.RoutedTokens],
  prefixes: Sequence[str],
  model_name: str | None,
  report: Callable[[str], None],
) -> list[dict[str, Any]]:
  """Router saturation: how many tokens an earlier checkpoint sends where the last one does."""
  compared = []
  for prefix in prefixes:
    report(f'Comparing with {os.path.basename(prefix)}.')
    earlier = routed.route(_with_weights(model, sources.open_source(prefix, model_name)), pairs)
    compared.append({'step': mesh_folder.step(prefix), 'layers': _agreements(tokens, earlier)})
  return compared


def _compared(
  model: SwitchTransformer,
  pairs: Sequence[texts.TextPair],
  tokens: Mapping[str, routed.RoutedTokens],
  folder: str,
  model_name: str | None,
  report: Callable[[str], None],
) -> dict[str, Any]:
  report(f'Comparing with {folder}.')
  other = routed.route(_with_weights(model, sources.open_source(folder, model_name)), pairs)
  return {'folder': folder, 'layers': _agreements(tokens, other)}


def _agreements(
  tokens: Mapping[str, routed.RoutedTokens], other: Mapping[str, routed.RoutedTokens]
) -> dict[str, dict[str, float]]:
  return {
    scope: {
      'agreement': statistics.agreement(layer.experts[:, 0], other[stack].layers[scope].experts[:, 0]),
      'mutual_information': statistics.mutual_information(
        layer.experts[:, 0], other[stack].layers[scope].experts[:, 0]
      ),
    }
    for stack in routed.STACKS
    for scope, layer in tokens[stack].layers.items()
  }
