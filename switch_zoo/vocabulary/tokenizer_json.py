"""tokenizer.json, the only file of a vocabulary that transformers 5 saves, as a sentencepiece model with the same ids.

Only a Unigram model that works on words as sentencepiece does can be expressed so; everything else is refused by name.
Each step of the file becomes a replacement in text, and sentencepiece gets text on which it changes nothing more.
Source: https://github.com/huggingface/tokenizers (normalizers, pre_tokenizers, models/unigram)
"""

import base64
import binascii
import math
import re
from typing import Any, NamedTuple

from switch_zoo.errors import UserError
from switch_zoo.spec.token_ids import END, PADDING, UNKNOWN
from switch_zoo.vocabulary import files, normalization
from switch_zoo.vocabulary.model_file import PROTO
from switch_zoo.vocabulary.table import SPACE, WHITESPACE, Rule, pattern, sentinel

_BYTE = re.compile('<0x[0-9A-F]{2}>')
# Expressions of `Replace` that conversions from sentencepiece write, in our own syntax.
_EXPRESSIONS = {' {2,}': ' {2,}', r'\A +| +\z': '^ +| +$', rf'\A{SPACE}': f'^{SPACE}'}
# A word that already begins with the mark does not get another one.
_MARK = Rule(f'^([^{SPACE}])', rf'{SPACE}\1')
_REMEDY = 'Give the spiece.model of this model, if it has one.'


class Converted(NamedTuple):
  """What a tokenizer.json says, without its added tokens.

  proto: ModelProto
  normalizer, normal_rules, word_rules, text_rules: as in `Table`
  drops_blanks: whether blanks at the ends of what is between added tokens are dropped
  """

  proto: Any
  normalizer: bytes
  normal_rules: tuple[Rule, ...]
  word_rules: tuple[Rule, ...]
  text_rules: tuple[Rule, ...]
  drops_blanks: bool


def convert(path: str, document: dict[str, Any]) -> Converted:
  """A sentencepiece model with the ids of a tokenizer.json.

  Args:
    path: of the file, for messages
    document: what it contains
  Raises:
    UserError: it says something that a sentencepiece model cannot express, or its special ids are not T5's
  """
  try:
    _check_type(path, document.get('model'))
    charsmap, normal_rules = _normalizer(path, document.get('normalizer'))
    words, word_rules = _pre_tokenizer(path, document.get('pre_tokenizer'))
    proto = _model(path, document['model'], words)
    _check_post_processor(path, document.get('post_processor'))
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise UserError(f'{path} is not a complete tokenizer.json: {error!r}. Copy or download it again.') from error
  marked = any(rule == _MARK for rule in word_rules)
  drops_blanks = any(rule.pattern.endswith(f'{WHITESPACE}+$') for rule in (*normal_rules, *word_rules))
  text_rules = (Rule('^ ', ''),) * marked
  return Converted(proto, normalization.model(charsmap), normal_rules, word_rules, text_rules, drops_blanks)


def _refusal(path: str, what: str) -> UserError:
  return UserError(f'{path}: {what}, which cannot be expressed as a sentencepiece model. {_REMEDY}')


def _steps(step: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
  """The steps of a step that may be a sequence of others."""
  if step is None:
    return []
  return [inner for outer in step[key] for inner in _steps(outer, key)] if step['type'] == 'Sequence' else [step]


def _normalizer(path: str, step: dict[str, Any] | None) -> tuple[bytes, tuple[Rule, ...]]:
  """The table of characters, and the replacements after it."""
  charsmap, rules = b'', []
  for number, inner in enumerate(_steps(step, 'normalizers')):
    if inner['type'] == 'Precompiled' and number == 0:
      charsmap = _decoded(path, inner['precompiled_charsmap'])
    elif inner['type'] == 'Strip':
      sides = [f'^{WHITESPACE}+'] * bool(inner['strip_left']) + [f'{WHITESPACE}+$'] * bool(inner['strip_right'])
      rules += [Rule(side, '') for side in sides]
    elif inner['type'] == 'Replace':
      rules.append(_replacement(path, inner))
    else:
      place = ' after other steps' if inner['type'] == 'Precompiled' else ''
      raise _refusal(path, f'its normalizer has a step of the type {inner["type"]}{place}')
  return charsmap, tuple(rules)


def _decoded(path: str, charsmap: str) -> bytes:
  try:
    return base64.b64decode(charsmap or '', validate=True)
  except binascii.Error as error:
    raise UserError(f'{path}: precompiled_charsmap is not base64 ({error}). Copy or download it again.') from error


def _replacement(path: str, step: dict[str, Any]) -> Rule:
  expression, content = step['pattern'].get('Regex'), step['content']
  known = _EXPRESSIONS.get(expression) if expression else pattern([step['pattern']['String']])
  if known is None or '\\' in content:
    raise _refusal(path, f'its normalizer replaces {expression or step["pattern"].get("String")} by {content!r}')
  return Rule(known, content)


def _pre_tokenizer(path: str, step: dict[str, Any] | None) -> tuple[bool, tuple[Rule, ...]]:
  """Whether text is split into words, and the replacements that put the mark of a word before each."""
  steps = _steps(step, 'pretokenizers')
  kinds = [inner['type'] for inner in steps]
  if kinds not in (['Metaspace'], ['WhitespaceSplit', 'Metaspace']):
    raise _refusal(path, f'its pre_tokenizer is {" and ".join(kinds) or "missing"} (known: Metaspace)')
  last = steps[-1]
  scheme = last.get('prepend_scheme', 'always' if last.get('add_prefix_space', True) else 'never')
  if last['replacement'] != SPACE or scheme not in ('always', 'never'):
    raise _refusal(path, f'its Metaspace has the replacement "{last["replacement"]}" and the prepend_scheme "{scheme}"')
  split = bool(last.get('split', True))
  start = (_MARK,) if scheme == 'always' else ()
  if len(steps) == 1:
    return split, (Rule(' ', SPACE), *start)
  if scheme == 'never' or not split:
    raise _refusal(path, 'after WhitespaceSplit, its Metaspace does not put a mark before each word and split there')
  return split, (Rule(f'^{WHITESPACE}+|{WHITESPACE}+$', ''), Rule(f'{WHITESPACE}+{SPACE}?', SPACE), *start)


def _check_type(path: str, model: dict[str, Any] | None) -> None:
  if not model:
    raise UserError(f'{path} is JSON and not a tokenizer.json: it has no model. {files.RULE}')
  # Older files do not name the type.
  kind = model.get('type', 'Unigram' if isinstance(model.get('vocab'), list) else 'unknown')
  if kind != 'Unigram':
    raise _refusal(path, f'its model is of the type {kind} (T5 and Switch have Unigram)')


def _model(path: str, model: dict[str, Any], words: bool) -> Any:
  """The pieces of a Unigram model."""
  rows = model['vocab']
  _check_table(path, rows, model['unk_id'])
  proto = PROTO.ModelProto()
  fallback = bool(model.get('byte_fallback', False))
  for number, (piece, score) in enumerate(rows):
    proto.pieces.add(**_piece(number, piece, words, fallback), score=score)
  kinds = PROTO.ModelProto.SentencePiece
  normal = [piece.score for piece in proto.pieces if piece.type == kinds.NORMAL]
  if not normal or min(normal) > min(piece.score for piece in proto.pieces):
    # What unknown text costs follows from the lowest score, in sentencepiece among those that occur in text.
    raise _refusal(path, 'the lowest score of its vocabulary is that of a piece that never occurs in text')
  num_bytes = sum(piece.type == kinds.BYTE for piece in proto.pieces)
  if fallback and num_bytes < 256:
    raise _refusal(path, f'its model has byte_fallback and {num_bytes} of the 256 bytes')
  _settings(proto, fallback)
  return proto


def _piece(number: int, piece: str, words: bool, fallback: bool) -> dict[str, Any]:
  """Text and kind of a piece."""
  kinds = PROTO.ModelProto.SentencePiece
  if number == UNKNOWN:
    return {'piece': piece, 'type': kinds.UNKNOWN}
  if fallback and _BYTE.fullmatch(piece):
    return {'piece': piece, 'type': kinds.BYTE}
  if sentinel(piece):  # found by `python_text` and `tensor_text`; a word in decoded text, as in mT5's own model
    return {'piece': SPACE + piece.removeprefix(SPACE), 'type': kinds.UNUSED}
  # A word contains its mark only at the beginning.
  return {'piece': piece, 'type': kinds.UNUSED if words and SPACE in piece[1:] else kinds.NORMAL}


def _check_table(path: str, rows: list[Any], unknown: Any) -> None:
  """Raises UserError if the table is not one of T5's, or not one that sentencepiece takes."""
  names = [name for name, _ in rows]
  if unknown != UNKNOWN or len(rows) <= UNKNOWN:
    raise UserError(
      f'{path} has other special ids than T5 and Switch: unk_id is {unknown}, and these models need {PADDING} for '
      f'padding, {END} for the end and {UNKNOWN} for unknown text. Give the vocabulary of the model.'
    )
  if not all(isinstance(name, str) and math.isfinite(score) for name, score in rows):
    raise UserError(f'{path}: every row of the vocabulary must be a piece and its score. Copy or download it again.')
  if '' in names or any('\0' in name for name in names):
    raise _refusal(path, 'a piece of its vocabulary is empty or contains the character 0')
  if len(set(names)) < len(names):
    twice = next(name for number, name in enumerate(names) if name in names[:number])
    raise _refusal(path, f'the piece "{twice}" is in its vocabulary twice')
  if SPACE not in names:
    raise _refusal(path, f'its vocabulary has no piece "{SPACE}"')


def _settings(proto: Any, byte_fallback: bool) -> None:
  trainer = proto.trainer_spec
  trainer.model_type = PROTO.TrainerSpec.UNIGRAM
  trainer.vocab_size = len(proto.pieces)
  trainer.byte_fallback = byte_fallback
  trainer.pad_id, trainer.eos_id, trainer.unk_id, trainer.bos_id = PADDING, END, UNKNOWN, -1
  trainer.pad_piece, trainer.eos_piece, trainer.unk_piece = (proto.pieces[n].piece for n in (PADDING, END, UNKNOWN))
  normalization.as_it_is(proto)


def _check_post_processor(path: str, step: dict[str, Any] | None) -> None:
  """Raises UserError unless what is put around a text is T5's end after it, or nothing."""
  if step is None:
    return
  if step['type'] != 'TemplateProcessing':
    raise _refusal(path, f'its post_processor is of the type {step["type"]} (T5 and Switch have TemplateProcessing)')
  template = step['single']
  kinds = [next(iter(part)) for part in template]
  ends = [step['special_tokens'][part['SpecialToken']['id']]['ids'] for part in template if 'SpecialToken' in part]
  if kinds[:1] != ['Sequence'] or len(kinds) > 2 or any(ids != [END] for ids in ends):
    around = ' '.join(str(next(iter(part.values()))['id']) for part in template)
    raise _refusal(
      path, f'its post_processor makes "{around}" of a text A, and T5 and Switch need the end, {END}, after it'
    )
