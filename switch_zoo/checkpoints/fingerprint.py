"""What identifies a conversion: it can be resumed only with the same request and the same state of its source."""

import os
from collections.abc import Mapping
from typing import Any

from switch_zoo.checkpoints import checksums, t5x
from switch_zoo.checkpoints.request_checks import Request


def make_fingerprint(request: Request, source_kind: str, gin: str) -> Mapping[str, Any]:
  """Everything that must be the same for a conversion to be resumed, as JSON can hold it; `gin`: the model.gin."""
  return {
    'source': os.path.abspath(request.source),
    'files': _stamps(request.source),
    'to': request.to,
    'dtype': request.dtype,
    'surgery': list(request.surgery),
    'keep_slots': request.keep_slots,
    'max_shard_bytes': request.max_shard_bytes,
    'model': [source_kind, gin],
    'checksums': checksums.ALGORITHM,
  }


def _stamps(path: str) -> list[list[str | int]]:
  """Name, size and time of the files of a source, and of T5X's folders of arrays."""
  folder = path if os.path.isdir(path) else os.path.dirname(path)
  folder = t5x.find_root(folder) or folder
  with os.scandir(folder) as entries:
    stamped = [entry for entry in entries if entry.is_file() or entry.name.startswith(t5x.PREFIXES)]
    return sorted([entry.name, entry.stat().st_size, entry.stat().st_mtime_ns] for entry in stamped)
