"""Converts a random Switch Transformer from sharded safetensors to Mesh-TensorFlow and back, beside a plain copy.

  python benchmarks/convert.py --folder /tmp/bench --out convert.json
  python benchmarks/convert.py --plan switch_c_2048

switch_base_64 in float32 is 15.2 GB; three times that is needed in the folder, and is removed at the end. Before
each conversion its source is copied. Copies and conversions begin with their source out of the page cache, and end with
everything on the disk. Memory is the
largest resident size of the converting process.
"""

import argparse
import filecmp
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np


def write_random(folder, model):
  """A Hugging Face folder with random float32 weights."""
  from switch_zoo import load_config
  from switch_zoo.checkpoints import destinations, names
  from switch_zoo.checkpoints.request_checks import DEFAULT_SHARD

  config = load_config(model)
  types = dict.fromkeys(config.variables, np.dtype(np.float32))
  infos = destinations.tensors(config, names.HUGGING_FACE, types)
  destination = destinations.HuggingFaceDestination(str(folder), config, infos, DEFAULT_SHARD)
  folder.mkdir()
  destination.create()
  generator = np.random.default_rng(0)
  for part in destinations.parts(config):
    axes = list(config.variables[part.variable].values())
    destination.write(part, generator.random(axes[part.expert is not None :], np.float32))
  destination.finish({})
  return destination.nbytes


def to_disk(folder, forget=False):
  """Waits until all files are written; `forget`: and takes them out of the page cache."""
  for path in folder.iterdir():
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    if forget:
      os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def timed_copy(source, target):
  """Seconds of a copy of all files, one after the other, with the call the system has for it."""
  to_disk(source, forget=True)
  start = time.perf_counter()
  shutil.copytree(source, target)
  to_disk(target)
  return time.perf_counter() - start


def timed_conversion(source, target, to):
  """Seconds and the largest resident size, in bytes, of `switch_zoo convert` in a process of its own."""
  to_disk(source, forget=True)
  code = 'import sys; from switch_zoo import cli; sys.exit(cli.run())'
  start = time.perf_counter()
  process = subprocess.Popen([sys.executable, '-c', code, 'convert', str(source), str(target), '--to', to])
  _, status, usage = os.wait4(process.pid, 0)
  to_disk(target)
  if status:
    raise SystemExit(f'the conversion to {to} failed with {status}')
  return time.perf_counter() - start, usage.ru_maxrss * 1024


def run(folder, model):
  folder.mkdir(parents=True)
  try:
    nbytes = write_random(folder / 'source', model)
    result = {'model': model, 'gigabytes': nbytes / 1e9}
    for source, target, to in (('source', 'mesh', 'mesh'), ('mesh', 'back', 'hf')):
      # Just before it: a disk is not as fast at one time as at another.
      copy_seconds = timed_copy(folder / source, folder / 'copy')
      shutil.rmtree(folder / 'copy')
      seconds, memory = timed_conversion(folder / source, folder / target, to)
      result[f'to_{to}'] = {
        'seconds': seconds,
        'gigabytes_per_second': nbytes / 1e9 / seconds,
        'copy_seconds': copy_seconds,
        'of_copy_speed': copy_seconds / seconds,
        'peak_memory_gigabytes': memory / 1e9,
      }
    shutil.rmtree(folder / 'mesh')
    files = [path.name for path in (folder / 'source').glob('*.safetensors*')]
    same, different, errors = filecmp.cmpfiles(folder / 'source', folder / 'back', files, shallow=False)
    result['files_the_same'] = f'{len(same)} of {len(files)}'
    return result
  finally:
    shutil.rmtree(folder)


def plan_rows(model):
  """Rows of a table: what each format takes."""
  from switch_zoo import load_config
  from switch_zoo.checkpoints import arrays, plan

  for to in ('mesh', 'keras', 'hf'):
    for dtype in arrays.FLOAT_TYPES.values():
      yield {'to': to, 'dtype': dtype.name, **plan.of(load_config(model), to, dtype)._asdict()}


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--model', default='switch_base_64')
  parser.add_argument('--folder', type=pathlib.Path, default=pathlib.Path('convert_benchmark'), help='must not exist')
  parser.add_argument('--plan', metavar='MODEL', help='only print what converting this model takes')
  parser.add_argument('--out', help='a JSON file for the result')
  arguments = parser.parse_args()
  result = list(plan_rows(arguments.plan)) if arguments.plan else run(arguments.folder, arguments.model)
  for row in result if arguments.plan else [result]:
    print(json.dumps(row))
  if arguments.out:
    with open(arguments.out, 'w', encoding='utf-8') as file:
      json.dump(result, file, indent=2)


if __name__ == '__main__':
  main()
