"""Text to packed batches for pre-training: our pipeline and the released one of T5, alternating, on two cores.

  python benchmarks/input_pipeline.py --out input_pipeline.json

16 gzip shards in C4's format (JSON lines) are made from the novels in SWITCH_ZOO_SHARED (default ../shared), with
documents of about 2,100 characters, C4's mean. Three pipelines make packed sequences of 512 and 114 tokens of them:

  ours       zoo_c4_span, as runs/pretrain.gin reads it
  t5 json    T5's preprocessors and Mesh-TensorFlow's packing over the same shards, each line parsed in Python, as in a
             FunctionDataSource written for C4's files (seqio itself reads neither gzip nor JSON)
  t5 lines   the same over the bare texts, uncompressed, one per line (seqio.TextLineDataSource): nothing to parse

Each turn is a separate process, so that none is disturbed by another's threads: it reads for a moment, then is
measured. Tokens are those of the inputs, without padding. On a machine that is not idle, go by the processor time,
summed over the cores; the number of cores for a batch is computed from it. A last, longer turn of our pipeline records
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
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  import tensorflow as tf

SHARDS = 16
LENGTHS = {'inputs': 512, 'targets': 114}
SEQUENCES = 64  # read at a time
BATCH = 2048  # sequences of runs/pretrain.gin: 2^20 tokens
PIPELINES = ('ours', 't5 json', 't5 lines')


def documents(novels: Sequence[str]) -> Iterator[str]:
  """Texts of about 2,100 characters, each of some paragraphs of a novel."""
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


def make_shards(shared: str, folder: pathlib.Path) -> int:
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


def register_t5(folder: pathlib.Path) -> None:
  """Registers the two T5 tasks over the shards, which use the released code only."""
  import seqio
  import tensorflow as tf
  from t5.data import preprocessors

  from switch_zoo.tasks import registration

  def parsed(line: tf.Tensor) -> dict[str, tf.Tensor]:
    text = tf.numpy_function(lambda line: json.loads(line)['text'].encode(), [line], tf.string)
    return {'text': tf.ensure_shape(text, [])}

  def c4(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
    del split
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


def batches(pipeline: str, folder: pathlib.Path) -> 'tf.data.Dataset':
  """An endless dataset of batches of packed sequences."""
  from t5.models import mesh_transformer

  if pipeline == 'ours':
    import switch_zoo.tasks  # noqa: F401 - registers zoo_c4_span
    from switch_zoo.launcher import replacements

    replacements.install()  # packing is one of them
    name = 'zoo_c4_span'
  else:
    register_t5(folder)
    name = pipeline.replace(' ', '_')
  dataset = mesh_transformer.mesh_train_dataset_fn(name, sequence_length=LENGTHS, seed=0, pack=True)
  return dataset.batch(SEQUENCES, drop_remainder=True).prefetch(2)


def resident() -> int:
  """Resident memory of this process, in bytes."""
  with open('/proc/self/statm') as file:
    return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def measure(pipeline: str, folder: pathlib.Path, seconds: float) -> dict[str, Any]:
  """Reads batches for some seconds, in this process, and counts tokens and sequences."""
  from switch_zoo import tf_compat

  tf_compat.repair()
  import numpy as np

  from switch_zoo.spec.token_ids import PADDING

  rows = batches(pipeline, folder).as_numpy_iterator()
  for _ in range(2 * BATCH // SEQUENCES):  # past the shuffling buffers
    next(rows)
  wall, cpu = time.perf_counter(), time.process_time()
  tokens = sequences = 0
  memory = []
  while time.perf_counter() - wall < seconds:
    batch = next(rows)
    tokens += int(np.count_nonzero(batch['inputs'] != PADDING))
    sequences += SEQUENCES
    memory.append(resident())
  wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
  tenths = [int(max(part)) for part in np.array_split(memory, 10) if len(part)]
  return {'seconds': wall, 'cpu_seconds': cpu, 'tokens': tokens, 'sequences': sequences, 'resident': tenths}


def measure_in_new_process(pipeline: str, folder: pathlib.Path, seconds: float, cores: int) -> dict[str, Any]:
  """`measure` in a new process on the first cores of the machine."""
  command = [sys.executable, __file__, '--measure', pipeline, '--folder', str(folder), '--seconds', str(seconds)]
  pin = lambda: os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:cores]))
  done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, preexec_fn=pin)
  return json.loads(done.stdout.splitlines()[-1])


def summary(turns: Sequence[dict[str, Any]], cores: int) -> dict[str, float]:
  """The medians over the turns of a pipeline, and the cores that one batch of runs/pretrain.gin per second needs."""
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


def report(result: dict[str, Any]) -> None:
  """Prints what was measured."""
  print(f'{"":10}{"tokens/s":>12}{"tokens per core-second":>25}{"cores for 2^20 tokens/s":>26}{"memory":>10}')
  for name in PIPELINES:
    row = result['ways'][name]
    print(
      f'{name:10}{row["tokens_per_second"]:>12,.0f}{row["tokens_per_core_second"]:>25,.0f}'
      f'{row["cores_for_a_batch_a_second"]:>26.1f}{row["resident_bytes"] / 2**30:>6.2f} GiB'
    )
  for name in PIPELINES[1:]:
    ratio = result['ratio'][name]
    print(f'ours is {ratio["wall"]:.2f} times as fast as {name} ({ratio["core"]:.2f} times per core)')
  memory = ' '.join(f'{size / 2**20:,.0f}' for size in result['memory']['resident'])
  print(f'memory of ours, by tenths of {result["memory"]["seconds"]:.0f} s, MiB: {memory}')
  cores = result['ways']['ours']['cores_for_a_batch_a_second']
  print(
    f'One step per second of runs/pretrain.gin takes {BATCH} sequences of 512: {cores:.1f} cores like these, '
    f'spread over the hosts of the slice; each host reads its own part.'
  )


def compare(shared: str, turns: int, seconds: float, memory_seconds: float, cores: int) -> dict[str, Any]:
  """Measures all pipelines, alternating, over shards in a temporary folder.

  Args:
    shared: folder with the novels
    turns: of each pipeline
    seconds: of a turn
    memory_seconds: of the last turn, which records memory
    cores: of a turn
  """
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    os.environ['SWITCH_ZOO_DATA_DIR'] = name
    size = make_shards(shared, folder)
    measured = {pipeline: [] for pipeline in PIPELINES}
    for _ in range(turns):
      for pipeline in PIPELINES:
        measured[pipeline].append(measure_in_new_process(pipeline, folder, seconds, cores))
    memory = measure_in_new_process('ours', folder, memory_seconds, cores)
  ways = {pipeline: summary(measured[pipeline], cores) for pipeline in PIPELINES}
  times = lambda pipeline, key: ways['ours'][key] / ways[pipeline][key]
  ratio = {
    pipeline: {'wall': times(pipeline, 'tokens_per_second'), 'core': times(pipeline, 'tokens_per_core_second')}
    for pipeline in PIPELINES
  }
  return {'text_bytes': size, 'ways': ways, 'ratio': ratio, 'turns': measured, 'memory': memory}


def main() -> None:
  """Reads the flags, measures and reports."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--turns', type=int, default=3)
  parser.add_argument('--seconds', type=float, default=15, help='of a turn')
  parser.add_argument('--memory-seconds', type=float, default=120, help='of the turn that records memory')
  parser.add_argument('--cores', type=int, default=2)
  parser.add_argument('--vocabulary', default='', help="a sentencepiece model; without it, T5's in SWITCH_ZOO_SHARED")
  parser.add_argument('--out', default='', help='file for the figures, as JSON')
  parser.add_argument('--measure', choices=PIPELINES, help=argparse.SUPPRESS)
  parser.add_argument('--folder', type=pathlib.Path, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.measure:
    print(json.dumps(measure(options.measure, options.folder, options.seconds)))
    return
  shared = os.environ.get('SWITCH_ZOO_SHARED', '../shared')
  os.environ['SWITCH_ZOO_VOCAB'] = options.vocabulary or os.path.abspath(f'{shared}/data/vocab/t5/spiece.model')
  result = compare(shared, options.turns, options.seconds, options.memory_seconds, options.cores)
  report(result)
  if options.out:
    pathlib.Path(options.out).write_text(json.dumps(result, indent=2))


if __name__ == '__main__':
  main()
