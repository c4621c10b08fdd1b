"""Converts a random Switch Transformer from sharded safetensors to Mesh-TensorFlow and back, compared to a plain copy.

  python benchmarks/convert.py --folder /tmp/bench --out convert.json
  python benchmarks/convert.py --plan switch_c_2048

switch_base_64 in float32 is 15.2 GB; the folder needs room for three times that, and is removed at the end. Before each
conversion its source is copied. Copies and conversions begin with their source out of the page cache, and end when
everything is on the disk. Memory is the largest resident size of the converting process.
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
from collections.abc import Iterator
from typing import Any

import numpy as np


def write_random(folder: pathlib.Path, model: str) -> int:
  """Writes a Hugging Face folder with random float32 weights; gives the bytes of all tensors."""
  from switch_zoo import load_config
  from switch_zoo.checkpoints.destinations import HuggingFaceDestination
  from switch_zoo.checkpoints.request_checks import DEFAULT_SHARD
  from switch_zoo.checkpoints.weights import weight_parts

  config = load_config(model)
  dtypes = dict.fromkeys(config.variables, np.dtype(np.float32))
  destination = HuggingFaceDestination(str(folder), config, dtypes, DEFAULT_SHARD)
  folder.mkdir()
  destination.create()
  generator = np.random.default_rng(0)
  for part in weight_parts(config):
    sizes = list(config.variables[part.variable].values())
    destination.write(part, generator.random(sizes[part.expert is not None :], np.float32))
  destination.finish({})
  return destination.nbytes


def sync_files(folder: pathlib.Path, evict: bool = False) -> None:
  """Waits until all files are on the disk; `evict`: also takes them out of the page cache."""
  for path in folder.iterdir():
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    if evict:
      os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def timed_copy(source: pathlib.Path, target: pathlib.Path) -> float:
  """Seconds to copy all files one after the other, with the system's own call for it."""
  sync_files(source, evict=True)
  start = time.perf_counter()
  shutil.copytree(source, target)
  sync_files(target)
  return time.perf_counter() - start


def timed_conversion(source: pathlib.Path, target: pathlib.Path, to: str) -> tuple[float, int]:
  """Seconds and the largest resident size, in bytes, of `switch_zoo convert` in a process of its own.

  Raises:
    SystemExit: the conversion failed
  """
  sync_files(source, evict=True)
  code = 'import sys; from switch_zoo import cli; sys.exit(cli.run())'
  start = time.perf_counter()
  process = subprocess.Popen([sys.executable, '-c', code, 'convert', str(source), str(target), '--to', to])
  _, status, usage = os.wait4(process.pid, 0)
  if status:
    raise SystemExit(f'the conversion to {to} failed with {status}')
  sync_files(target)
  return time.perf_counter() - start, usage.ru_maxrss * 1024


def measure_step(folder: pathlib.Path, source: str, target: str, to: str, nbytes: int) -> dict[str, float]:
  """Figures of one conversion and of a copy of its source."""
  # The copy is made just before: the speed of a disk changes with time.
  copy_seconds = timed_copy(folder / source, folder / 'copy')
  shutil.rmtree(folder / 'copy')
  seconds, memory = timed_conversion(folder / source, folder / target, to)
  return {
    'seconds': seconds,
    'gigabytes_per_second': nbytes / 1e9 / seconds,
    'copy_seconds': copy_seconds,
    'of_copy_speed': copy_seconds / seconds,
    'peak_memory_gigabytes': memory / 1e9,
  }


def run(folder: pathlib.Path, model: str) -> dict[str, Any]:
  """Converts there and back in a new folder; gives all figures."""
  folder.mkdir(parents=True)
  try:
    nbytes = write_random(folder / 'source', model)
    result: dict[str, Any] = {'model': model, 'gigabytes': nbytes / 1e9}
    result['to_mesh'] = measure_step(folder, 'source', 'mesh', 'mesh', nbytes)
    result['to_hf'] = measure_step(folder, 'mesh', 'back', 'hf', nbytes)
    files = [path.name for path in (folder / 'source').glob('*.safetensors*')]
    same, _, _ = filecmp.cmpfiles(folder / 'source', folder / 'back', files, shallow=False)
    result['files_the_same'] = f'{len(same)} of {len(files)}'
    return result
  finally:
    shutil.rmtree(folder)


def plan_rows(model: str) -> Iterator[dict[str, Any]]:
  """Rows of a table: what a conversion to each format takes."""
  from switch_zoo import load_config
  from switch_zoo.checkpoints import arrays
  from switch_zoo.checkpoints.conversion_size import compute_conversion_size

  for to in ('mesh', 'keras', 'hf'):
    for dtype in arrays.FLOAT_TYPES.values():
      yield {'to': to, 'dtype': dtype.name, **compute_conversion_size(load_config(model), to, dtype)._asdict()}


def main() -> None:
  """Parses the command line, measures, prints."""
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
