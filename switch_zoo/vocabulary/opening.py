"""The Table of a vocabulary's file, with the added tokens that the files next to it name."""

import dataclasses
import os
from typing import Any

from switch_zoo.spec.token_ids import END, PADDING
from switch_zoo.vocabulary import added_tokens, files, model_file, normalization, tokenizer_json
from switch_zoo.vocabulary.python_text import PythonText
from switch_zoo.vocabulary.table import Table


def open_table(path: str) -> Table:
  """Reads a vocabulary.

  Args:
    path: of a sentencepiece model or a tokenizer.json, local or remote
  Raises:
    UserError: it is neither, its special ids are not T5's, or what it says cannot be done in an export
  """
  data = files.read(path)
  documents = added_tokens.sidecars(path)
  if files.is_json(data):
    return _of_json(path, files.json_object(path, data), documents)
  return _of_model(path, model_file.parse(path, data), documents)


def _of_json(path: str, document: dict[str, Any], documents: dict[str, dict[str, Any]]) -> Table:
  converted = tokenizer_json.convert(path, document)
  proto = converted.proto
  others = {name: other for name, other in documents.items() if os.path.basename(name) != added_tokens.TOKENIZER}
  tokens = added_tokens.named({path: document, **others})
  if not converted.drops_blanks:
    added_tokens.check_blanks(tokens)
  added, hidden = added_tokens.merge(proto, tokens)
  table = Table(
    path,
    proto.SerializeToString(),
    len(proto.pieces),
    added,
    converted.normalizer,
    converted.normal_rules,
    converted.word_rules,
    converted.text_rules,
    hidden | {PADDING, END},
  )
  return _with_normalized_tokens(table)


def _of_model(path: str, proto: Any, documents: dict[str, dict[str, Any]]) -> Table:
  tokens = added_tokens.with_sentinels(added_tokens.named(documents), proto, documents)
  spec = proto.normalizer_spec
  if not spec.remove_extra_whitespaces:
    added_tokens.check_blanks(tokens)
  added, hidden = added_tokens.merge(proto, tokens)
  normalizer = None
  if any(token.normalized for token in added):
    normalizer = normalization.model(spec.precompiled_charsmap)
    normalization.replaces_nothing(proto)
  table = Table(path, proto.SerializeToString(), len(proto.pieces), added, normalizer, hidden=hidden)
  return _with_normalized_tokens(table)


def _with_normalized_tokens(table: Table) -> Table:
  """The same, with the texts of those tokens normalized that are searched for in normalized text."""
  text = PythonText(table)
  added = tuple(
    dataclasses.replace(token, content=text.normalized(token.content)) if token.normalized else token
    for token in table.added
  )
  return dataclasses.replace(table, added=added)
