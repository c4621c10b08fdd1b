"""Tokens in addition to the table of a vocabulary: sentinels, and those that the files of a tokenizer name.

added_tokens.json       content -> id, as older transformers wrote it; special_tokens_map.json says which are special
tokenizer_config.json   added_tokens_decoder: id -> content and how it is searched for; extra_ids: number of sentinels
tokenizer.json          added_tokens: the same as a list
"""

import os
from collections.abc import Iterator
from typing import Any

from switch_zoo.errors import UserError
from switch_zoo.spec.token_ids import NUM_SENTINELS, UNKNOWN
from switch_zoo.vocabulary import files
from switch_zoo.vocabulary.model_file import PROTO
from switch_zoo.vocabulary.table import SPACE, AddedToken, sentinel

CONFIG, MAP, ADDED, TOKENIZER = (
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'tokenizer.json',
)
# More than any vocabulary has; a piece is made for every id.
MAX_IDS = 1 << 20


def sidecars(path: str) -> dict[str, dict[str, Any]]:
  """The other files that may name added tokens, in the folder of a vocabulary: path -> what it contains.

  Raises:
    UserError: one cannot be read
  """
  folder = os.path.dirname(path)
  paths = [os.path.join(folder, name) for name in (TOKENIZER, CONFIG, MAP, ADDED)]
  return {one: files.json_object(one, files.read(one)) for one in paths if one != path and files.is_file(one)}


def named(documents: dict[str, dict[str, Any]]) -> dict[int, tuple[str, AddedToken]]:
  """The added tokens of some files: id -> the file and the token.

  Raises:
    UserError: two files contradict each other, or a token asks for what is not possible
  """
  tokens: dict[int, tuple[str, AddedToken]] = {}
  for path, token in _all_named(documents):
    first = tokens.setdefault(token.id, (path, token))
    if first[1].content != token.content:
      raise UserError(
        f'Two added tokens have the id {token.id}: "{first[1].content}" in {first[0]} and "{token.content}" in {path}. '
        'Keep the file that belongs to the model.'
      )
  return tokens


def _all_named(documents: dict[str, dict[str, Any]]) -> Iterator[tuple[str, AddedToken]]:
  special = {str(text) for path, document in documents.items() for text in _special_texts(path, document)}
  for path, document in documents.items():
    try:
      yield from ((path, token) for token in _tokens(path, document, special) if token.content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
      raise UserError(f'{path}: its added tokens cannot be read: {error!r}. Copy or download it again.') from error


def _tokens(path: str, document: dict[str, Any], special: set[str]) -> Iterator[AddedToken]:
  name = os.path.basename(path)
  if name == CONFIG:
    yield from (_token(path, int(number), row) for number, row in (document.get('added_tokens_decoder') or {}).items())
  elif name == ADDED:
    yield from (
      _token(path, number, {'content': text, 'special': text in special}) for text, number in document.items()
    )
  elif name != MAP:
    yield from (_token(path, row['id'], row) for row in document.get('added_tokens') or [])


def _special_texts(path: str, document: dict[str, Any]) -> Iterator[Any]:
  if os.path.basename(path) in (MAP, CONFIG):
    for key, value in document.items():
      if key.endswith(('_token', '_tokens')):
        yield from (one.get('content') if isinstance(one, dict) else one for one in _as_list(value))


def _as_list(value: Any) -> list[Any]:
  return value if isinstance(value, list) else [value]


def _token(path: str, number: Any, row: dict[str, Any]) -> AddedToken:
  content, special = row['content'], bool(row.get('special', False))
  if not (isinstance(number, int) and isinstance(content, str)) or '\0' in content:
    raise ValueError(
      f'an id must be a whole number and a token a text without the character 0: {number!r}, {content!r}'
    )
  if not 0 <= number < MAX_IDS:
    raise UserError(f'{path}: the token "{content}" has the id {number}. Ids are from 0 to {MAX_IDS - 1:,}.')
  if row.get('single_word', False):
    raise UserError(
      f'{path}: the token "{content}" is marked single_word, so whether it is one depends on the letters around it, '
      'which cannot be expressed in an export. Remove the mark, if the model was trained without it.'
    )
  strips = bool(row.get('lstrip', False) or row.get('rstrip', False))
  return AddedToken(content, number, special, bool(row.get('normalized', not special)), strips)


def with_sentinels(
  tokens: dict[int, tuple[str, AddedToken]], proto: Any, documents: dict[str, dict[str, Any]]
) -> dict[int, tuple[str, AddedToken]]:
  """Adds T5's sentinels after the pieces of a sentencepiece model, unless they are pieces or named already.

  Args:
    tokens: as `named` returns
    proto: ModelProto
    documents: as `sidecars` returns; tokenizer_config.json may say how many sentinels there are
  """
  texts = [piece.piece for piece in proto.pieces] + [token.content for _, token in tokens.values()]
  if any(map(sentinel, texts)):
    return tokens
  counts = [document.get('extra_ids') for path, document in documents.items() if os.path.basename(path) == CONFIG]
  count = next((count for count in counts if isinstance(count, int) and 0 <= count < MAX_IDS), NUM_SENTINELS)
  last = len(proto.pieces) + count - 1
  added = {last - number: ('', AddedToken(f'<extra_id_{number}>', last - number)) for number in range(count)}
  for number, (path, token) in tokens.items():
    if number in added:
      raise UserError(
        f'{path}: the token "{token.content}" has the id {number}, which is that of the sentinel '
        f'{added[number][1].content}. If the model has no sentinels, write "extra_ids": 0 in {CONFIG} next to the '
        'vocabulary.'
      )
  return {**added, **tokens}


def check_blanks(tokens: dict[int, tuple[str, AddedToken]]) -> None:
  """For a vocabulary that keeps all blanks: raises UserError if a token takes those next to it."""
  for path, token in tokens.values():
    if token.strips:
      raise UserError(
        f'{path}: the token "{token.content}" takes the blanks next to it (lstrip or rstrip), which cannot be '
        'expressed with a vocabulary that keeps them. Set both to false, if the model was trained so.'
      )


def merge(proto: Any, tokens: dict[int, tuple[str, AddedToken]]) -> tuple[tuple[AddedToken, ...], frozenset[int]]:
  """Gives every added token a piece.

  Args:
    proto: ModelProto, which is changed: it gets pieces up to the highest id
    tokens: as `named` returns
  Returns:
    all added tokens, with the sentinels that are pieces; ids that no token has or that are special
  Raises:
    UserError: a token is not the piece of its id, or is the piece of another
  """
  pieces = {piece.piece: number for number, piece in enumerate(proto.pieces)}
  inside = {text: number for piece, number in pieces.items() if (text := sentinel(piece))}
  for number, (path, token) in tokens.items():
    _check_place(path, token, proto, pieces.get(token.content, number))
    inside.pop(token.content, None)
  hidden = _add_pieces(proto, {number: token.content for number, (_, token) in tokens.items()})
  for number, (_, token) in tokens.items():
    if token.special and number != UNKNOWN and not sentinel(token.content):
      hidden.add(number)
  kept = tuple(AddedToken(text, number) for text, number in inside.items())
  return (*kept, *(token for _, token in tokens.values())), frozenset(hidden)


def _check_place(path: str, token: AddedToken, proto: Any, of_piece: int) -> None:
  """Raises UserError if a token is not the piece of its id, or is the piece `of_piece`."""
  if token.id < len(proto.pieces):
    piece = proto.pieces[token.id].piece
    if token.content not in (piece, sentinel(piece)):
      raise UserError(
        f'{path}: the token "{token.content}" has the id {token.id}, which is that of the piece "{piece}". '
        'The file belongs to another vocabulary: keep those of one model in a folder.'
      )
  elif token.id != of_piece:
    raise UserError(
      f'{path}: the token "{token.content}" has the id {token.id}, and as a piece of the vocabulary {of_piece}. '
      'The file belongs to another vocabulary: keep those of one model in a folder.'
    )


def _add_pieces(proto: Any, contents: dict[int, str]) -> set[int]:
  """Adds a piece for every id up to the highest; returns the ids without a token."""
  kinds = PROTO.ModelProto.SentencePiece
  holes = set(range(len(proto.pieces), max(contents, default=-1) + 1)) - set(contents)
  for number in range(len(proto.pieces), max(contents, default=-1) + 1):
    if number in holes:
      proto.pieces.add(piece=f'<no token {number}>', score=0.0, type=kinds.CONTROL)
    else:
      # Never searched for by sentencepiece, but written in decoded text; a sentinel as a word, as in mT5's own model.
      content = contents[number]
      text = f'{SPACE}{content}' if sentinel(content) else content
      proto.pieces.add(piece=text, score=0.0, type=kinds.UNUSED)
  return holes
