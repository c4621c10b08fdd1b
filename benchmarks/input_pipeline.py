"""Text to packed batches for pre-training: ours and the released T5 pipeline, in turns, on two cores.

  python benchmarks/input_pipeline.py --out input_pipeline.json

16 gzip shards in C4's format (JSON lines) are made of the novels in SWITCH_ZOO_SHARED (default ../shared), documents of
about 2,100 characters, C4's mean. Three ways lead from them to packed sequences of 512 and 114 tokens:

  ours       zoo_c4_span, as runs/pretrain.gin reads it
  t5 json    T5's preprocessors and Mesh-TensorFlow's packing over the same shards, each line parsed in Python, as a
             FunctionDataSource does it that is written for C4's files (seqio itself reads no gzip and no JSON)
  t5 lines   the same over the bare texts, unpacked, one a line (seqio.TextLineDataSource): nothing to parse

Each turn is a process of its own, so none is disturbed by another's threads: it reads for a moment, then is measured.
Tokens are those of the inputs, padding not counted. Processor time, summed over the cores, is the one to read on a
machine that is not idle, and what the number of cores for a batch is computed from. A last, longer turn of ours watches
its memory.
"""

import argparse
import glob
import gzip
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

SHARDS = 16
LENGTHS = {'inputs': 512, 'targets': 114}
SEQUENCES = 64  # handed over at a time
BATCH = 2048  # sequences of runs/pretrain.gin: 2^20 tokens
WAYS = ('ours', 't5 json', 't5 lines')


def documents(novels):
  """The novels' paragraphs, some together: texts of about 2,100 characters."""
  for path in novels:
    kept, size = [], 0
    with gzip.open(path, 'rt', encoding='utf-8') as file:
      for line in map(str.strip, file):
        if line:
          kept.append(line)
          size += len(line)
        if size > 2000:
          yield '\n'.join(kept)
          kept, size = [], 0


def make_shards(shared, folder):
  """Writes the shards, and the same texts as bare lines. Returns the bytes of text."""
  novels = sorted(glob.glob(f'{shared}/data/corpus/british_fiction/*.txt.gz'))
  if not novels:
    sys.exit(f'There are no novels in {shared}/data/corpus/british_fiction. Set SWITCH_ZOO_SHARED.')
  texts = list(documents(novels))
  for shard in range(SHARDS):
    ours = texts[shard::SHARDS]
    rows = [{'text': text, 'timestamp': '2019-04-25T12:57:54Z', 'url': 'https://example.org/'} for text in ours]
    with gzip.open(folder / f'c4-train.{shard:05}-of-{SHARDS:05}.json.gz', 'wt', encoding='utf-8') as file:
      file.writelines(f'{json.dumps(row, ensure_ascii=False)}\n' for row in rows)
    (folder / f'lines-{shard:05}.txt').write_text('\n'.join(text.replace('\n', ' ') for text in ours))
  return sum(len(text.encode()) for text in texts)


def register_t5(folder):
  """Registers the two T5 tasks over the shards, and undoes nothing of what is released."""
  import seqio
  import tensorflow as tf
  from t5.data import preprocessors

  from switch_zoo.tasks import registration

  def parsed(line):
    text = tf.numpy_function(lambda line: json.loads(line)['text'].encode(), [line], tf.string)
    return {'text': tf.ensure_shape(text, [])}

  def c4(split, shuffle_files, seed=None):
    files = tf.data.Dataset.from_tensor_slices(sorted(map(str, folder.glob('c4-*.gz'))))
    files = files.shuffle(SHARDS, seed=seed) if shuffle_files else files
    read = lambda file: tf.data.TextLineDataset(file, compression_type='GZIP')
    lines = files.interleave(read, cycle_length=16, block_length=16, num_parallel_calls=tf.data.AUTOTUNE)
    return lines.map(parsed, num_parallel_calls=tf.data.AUTOTUNE)

  as_text = seqio.map_over_dataset(lambda line: {'text': line})
  sources = {
    't5_json': (seqio.FunctionDataSource(c4, splits=('train',)), []),
    't5_lines': (seqio.TextLineDataSource({'train': str(folder / 'lines-*.txt')}), [as_text]),
  }
  for name, (source, first) in sources.items():
    seqio.TaskRegistry.add(
      name,
      source=source,
      preprocessors=[
        *first,
        lambda dataset: seqio.preprocessors.rekey(dataset, {'inputs': None, 'targets': 'text'}),
        seqio.preprocessors.tokenize,
        preprocessors.span_corruption,
        seqio.preprocessors.append_eos_after_trim,
      ],
      output_features=registration.features(),
      metric_fns=[],
    )


def batches(way, folder):
  """An endless dataset of batches of packed sequences."""
  from t5.models import mesh_transformer

  if way == 'ours':
    import switch_zoo.tasks  # noqa: F401 - registers zoo_c4_span
    from switch_zoo.launcher import replacements

    replacements.install()  # packing is one of them
    name = 'zoo_c4_span'
  else:
    register_t5(folder)
    name = way.replace(' ', '_')
  dataset = mesh_transformer.mesh_train_dataset_fn(name, sequence_length=LENGTHS, seed=0, pack=True)
  return dataset.batch(SEQUENCES, drop_remainder=True).prefetch(2)


def resident():
  """Bytes of this process in memory now."""
  with open('/proc/self/statm') as file:
    return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def measure(way, folder, seconds):
  """Reads batches for some seconds, in this process, and counts."""
  from switch_zoo import tf_compat

  tf_compat.repair()
  import numpy as np

  rows = batches(way, folder).as_numpy_iterator()
  for _ in range(2 * BATCH // SEQUENCES):  # past the shuffling buffers
    next(rows)
  wall, cpu = time.perf_counter(), time.process_time()
  tokens = sequences = 0
  memory = []
  while time.perf_counter() - wall < seconds:
    batch = next(rows)
    tokens += int(np.count_nonzero(batch['inputs']))
    sequences += SEQUENCES
    memory.append(resident())
  wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
  tenths = [int(max(part)) for part in np.array_split(memory, 10) if len(part)]
  return {'seconds': wall, 'cpu_seconds': cpu, 'tokens': tokens, 'sequences': sequences, 'resident': tenths}


def in_process_of_its_own(way, folder, seconds, cores):
  """`measure` in a fresh process on the first cores of the machine."""
  command = [sys.executable, __file__, '--measure', way, '--folder', str(folder), '--seconds', str(seconds)]
  pin = lambda: os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))
  done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, preexec_fn=pin)
  return json.loads(done.stdout.splitlines()[-1])


def summary(turns, cores):
  """Of the turns of one way: the medians, and the cores that a batch of runs/pretrain.gin needs each second."""
  per_second = statistics.median(turn['tokens'] / turn['seconds'] for turn in turns)
  per_core_second = statistics.median(turn['tokens'] / turn['cpu_seconds'] for turn in turns)
  sequences = statistics.median(turn['sequences'] / turn['cpu_seconds'] for turn in turns)
  return {
    'tokens_per_second': per_second,
    'tokens_per_core_second': per_core_second,
    'cores': cores,
    'cores_for_a_batch_a_second': BATCH / sequences,
    'resident_bytes': max(max(turn['resident']) for turn in turns),
  }


def report(result):
  """Prints what was measured."""
  print(f'{"":10}{"tokens/s":>12}{"tokens per core-second":>25}{"cores for 2^20 tokens/s":>26}{"memory":>10}')
  for way in WAYS:
    row = result['ways'][way]
    print(
      f'{way:10}{row["tokens_per_second"]:>12,.0f}{row["tokens_per_core_second"]:>25,.0f}'
      f'{row["cores_for_a_batch_a_second"]:>26.1f}{row["resident_bytes"] / 2**30:>6.2f} GiB'
    )
  for way in WAYS[1:]:
    print(f'ours is {result["ratio"][way]["wall"]:.2f} times {way} ({result["ratio"][way]["core"]:.2f} per core)')
  memory = ' '.join(f'{size / 2**20:,.0f}' for size in result['memory']['resident'])
  print(f'memory of ours in tenths of {result["memory"]["seconds"]:.0f} s, MiB: {memory}')
  cores = result['ways']['ours']['cores_for_a_batch_a_second']
  print(
    f'One step a second of runs/pretrain.gin takes {BATCH} sequences of 512: {cores:.1f} cores like these, '
    f'spread over the hosts of the slice; each host reads its own part.'
  )


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--turns', type=int, default=3)
  parser.add_argument('--seconds', type=float, default=15, help='of a turn')
  parser.add_argument('--memory-seconds', type=float, default=120, help='of the turn that watches memory')
  parser.add_argument('--cores', type=int, default=2)
  parser.add_argument('--vocabulary', default='', help="a sentencepiece model; T5's in SWITCH_ZOO_SHARED without it")
  parser.add_argument('--out', default='', help='file for the figures, as JSON')
  parser.add_argument('--measure', choices=WAYS, help=argparse.SUPPRESS)
  parser.add_argument('--folder', type=pathlib.Path, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.measure:
    print(json.dumps(measure(options.measure, options.folder, options.seconds)))
    return
  shared = os.environ.get('SWITCH_ZOO_SHARED', '../shared')
  os.environ['SWITCH_ZOO_VOCAB'] = options.vocabulary or os.path.abspath(f'{shared}/data/vocab/t5/spiece.model')
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    os.environ['SWITCH_ZOO_DATA_DIR'] = name
    size = make_shards(shared, folder)
    turns = {way: [] for way in WAYS}
    for _ in range(options.turns):
      for way in WAYS:
        turns[way].append(in_process_of_its_own(way, folder, options.seconds, options.cores))
    memory = in_process_of_its_own('ours', folder, options.memory_seconds, options.cores)
  ways = {way: summary(turns[way], options.cores) for way in WAYS}
  times = lambda way, key: ways['ours'][key] / ways[way][key]
  ratio = {way: {'wall': times(way, 'tokens_per_second'), 'core': times(way, 'tokens_per_core_second')} for way in WAYS}
  result = {'text_bytes': size, 'ways': ways, 'ratio': ratio, 'turns': turns, 'memory': memory}
  report(result)
  if options.out:
    pathlib.Path(options.out).write_text(json.dumps(result, indent=2))


if __name__ == '__main__':
  main()
