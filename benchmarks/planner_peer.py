"""Mesh-TensorFlow's own layout optimizer next to the planner: what each chooses for a model, by predicted time.

    pip install ortools
    python benchmarks/planner_peer.py --limit 600 [MODEL ...]
    python benchmarks/planner_peer.py --table

`mesh_tensorflow.auto_mtf` looks for the mesh and the rules with which the largest sum of tensors that live at the same
time is smallest; it knows no exchanges and no time. It is given the training step of one block of each stack, without
the optimizer, as its integer program grows with the square of the graph, and only the dimensions that this package's
strategies cut. The planner judges both choices for the whole model.

Each choice is appended to benchmarks/planner_peer.jsonl as soon as it is made, and models with one there are not asked
again. `--table` judges the choices of that file.
"""

import argparse
import json
import pathlib
import resource
import signal
import subprocess
import sys
import time

COUNTED = ('outer_batch', 'batch', 'experts', 'd_ff', 'heads', 'vocab', 'expert_hidden', 'd_model_split')
MODELS = (
  't5_small', 't5_base', 't5_large', 't5_xxl', 'mt5_base', 'switch_base_8', 'switch_base_32', 'switch_base_128',
  'switch_large_128', 'switch_xxl_128', 'switch_c_2048', 'moe_base_128', 'gshard_12b5', 'gshard_600b',
)  # fmt: skip
CHOICES = pathlib.Path(__file__).with_suffix('.jsonl')


def block_graph(config, sequences):
  """The mtf.Graph of a training step of one block of each stack, and what must stay in memory."""
  import tensorflow.compat.v1 as tf

  from switch_zoo.mesh import graph as mesh_graph
  from switch_zoo.spec.zoo import model_file

  layers = {
    'num_encoder_layers': config.num_encoder_layers // config.num_encoder_blocks,
    'num_decoder_layers': config.num_decoder_layers // config.num_decoder_blocks,
  }
  one = mesh_graph.configure([model_file(config.name)], [f'{name} = {number}' for name, number in layers.items()])
  with tf.Graph().as_default():
    training = mesh_graph.build_training(mesh_graph.build_model(one), mesh_graph.Batch(sequences), learning_rate=None)
  return training.graph, [training.loss, *training.gradients]


def memory_contents(graph):
  """The sets of tensors that live at the same time, without those that are part of the next one."""
  operations = list(graph.get_all_operation_names())
  inputs = [set(graph.get_operation_input_names(name)) for name in operations]
  outputs = [set(graph.get_operation_output_names(name)) for name in operations]
  last = {name: i for i, names in enumerate(outputs) for name in names}
  for i, names in enumerate(inputs):
    last.update(dict.fromkeys(names, i))
  alive, contents = set(), []
  for i, (read, written) in enumerate(zip(inputs, outputs, strict=True)):
    alive |= written
    over = {name for name in read | written if last[name] == i and not graph.is_tensor_final(name)}
    if over:
      contents.append(frozenset(alive))
    alive -= over
  return contents


def their_choice(graph, outputs, cores):
  """(mesh, rules) of mesh_tensorflow.auto_mtf.api.layout_and_mesh_shape, among the dimensions that are counted."""
  import mesh_tensorflow as mtf
  from mesh_tensorflow.auto_mtf import api, layout_optimizer, memory_estimator

  class Optimizer(layout_optimizer.LayoutOptimizer):
    """Operations in the order of the graph, as its own list scheduler takes a tensor away that is not there yet."""

    def _get_memory_contents(self):
      if self._memory_contents is None:
        self._memory_contents = memory_contents(self._graph)
      return self._memory_contents

  best = None
  for sizes in api._mesh_shape_iterator(cores, 2):
    mesh = mtf.Shape([mtf.Dimension(f'mesh_{i}', size) for i, size in enumerate(sizes)])
    estimator = memory_estimator.MemoryEstimator(graph, mesh, outputs)
    validator = estimator.get_layout_validator()
    # Dimensions that the strategies do not cut are left whole; the planner does not count how those are lowered.
    validator._splittable_mtf_dimension_names &= set(COUNTED)
    optimizer = Optimizer(estimator)
    rules = optimizer.solve()
    memory = optimizer.evaluate_layout(rules)
    if best is None or memory < best[0]:
      best = memory, ';'.join(f'mesh_{i}:{size}' for i, size in enumerate(sizes)), rules
  return best[1:]


def smallest_slice(model):
  """The smallest slice for which the model has a ready layout."""
  from switch_zoo.planner.hardware import slice_named
  from switch_zoo.spec import layouts

  ready = [name.split('/')[0] for name in layouts.list_layouts() if name.endswith(f'/{model}')]
  return min(map(slice_named, ready), key=lambda one: one.cores)


def choose(model):
  """What auto_mtf chooses for a model, as a record of `CHOICES`."""
  from switch_zoo import tf_compat
  from switch_zoo.spec import layouts
  from switch_zoo.spec.zoo import load_config

  tf_compat.repair()
  target = smallest_slice(model)
  graph, outputs = block_graph(load_config(model), max(layouts.SEQUENCES, target.cores))
  mesh, rules = their_choice(graph, outputs, target.cores)
  return {'model': model, 'slice': target.name, 'mesh': mesh, 'rules': rules, 'seconds': round(time.process_time())}


def row(choice):
  """The cells of a record's line."""
  from switch_zoo.planner.hardware import slice_named
  from switch_zoo.planner.search import Judge, Plan
  from switch_zoo.planner.step import LENGTHS
  from switch_zoo.spec import layouts
  from switch_zoo.spec.zoo import load_config

  config, target = load_config(choice['model']), slice_named(choice['slice'])
  judge = Judge(config, target, max(layouts.SEQUENCES, target.cores), LENGTHS)
  ours = judge.search().plans[0]
  theirs = judge.judge(layouts.parse(choice['mesh'], choice['rules'])) if 'mesh' in choice else None
  cells = [target.name, config.name]
  if theirs is None:
    cells += [f'none in {choice["limit"]} s', '']
  else:
    judged = f'{theirs.total_seconds:.3g} s' if isinstance(theirs, Plan) else theirs.reason
    cells += [f'`{choice["mesh"]}` `{choice["rules"]}`', judged]
  cells += ['`{}` `{}`'.format(*ours.layout.text()), f'{ours.total_seconds:.3g} s']
  return [*cells, f'{theirs.total_seconds / ours.total_seconds:.2f}' if isinstance(theirs, Plan) else '']


def ask(model, limit):
  """Appends the choice for a model, or that there was none: another process makes it, in `limit` seconds of CPU."""
  command = [sys.executable, __file__, '--choose', model]
  at_most = lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
  answer = subprocess.run(command, preexec_fn=at_most, stdout=subprocess.PIPE, text=True)
  if answer.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
    choice = {'model': model, 'slice': smallest_slice(model).name, 'limit': limit}
  elif answer.returncode:
    sys.exit(answer.returncode)
  else:
    choice = json.loads(answer.stdout.splitlines()[-1])
  with CHOICES.open('a', encoding='utf-8') as file:
    file.write(json.dumps(choice) + '\n')


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
  parser.add_argument('models', nargs='*', default=MODELS)
  parser.add_argument('--limit', type=int, default=600, help='seconds of CPU for one choice')
  parser.add_argument('--table', action='store_true', help='print the table of the choices made so far')
  parser.add_argument('--choose', metavar='MODEL', help='print the choice for one model as JSON')
  given = parser.parse_args()
  if given.choose:
    print(json.dumps(choose(given.choose)))
  elif given.table:
    print_table()
  else:
    try:
      import ortools.sat.python.cp_model  # noqa: F401 - the optimizer imports it
    except ImportError as error:
      print(f"Skipped: Mesh-TensorFlow's layout optimizer needs OR-Tools ({error}). Run: pip install ortools")
      return
    for model in without_choice(given.models):
      ask(model, given.limit)


def print_table():
  """Prints both choices for each model of `CHOICES`, by the time that the planner predicts."""
  print('| Slice | Model | auto_mtf | Its step | The planner | Its step | Ratio |\n|---|---|---|---:|---|---:|---:|')
  for choice in choices():
    print(f'| {" | ".join(row(choice))} |', flush=True)


def choices():
  """The records of `CHOICES`."""
  return [json.loads(line) for line in CHOICES.read_text(encoding='utf-8').splitlines()] if CHOICES.exists() else []


def without_choice(models):
  """Those of these models that have no choice yet."""
  made = {choice['model'] for choice in choices()}
  return [model for model in models if model not in made]


if __name__ == '__main__':
  main()
