"""Exports of the released code get checksums, as those of `switch_zoo export` have them."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from switch_zoo.checkpoints import file_checksums
from switch_zoo.launcher import latest


def with_checksums(export_model: Callable[..., bytes | str]) -> Callable[..., bytes | str]:
  """`mesh_utils.export_model` that writes checksums.json next to saved_model.pb; not in a bucket."""

  @functools.wraps(export_model)
  def export(*args: Any, **kwargs: Any) -> bytes | str:
    folder = export_model(*args, **kwargs)
    path = tf.compat.as_text(folder)
    if not latest.is_remote(path):
      file_checksums.write(path)
    return folder

  return export
