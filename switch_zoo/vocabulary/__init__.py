"""Vocabularies: what the files say, and text to ids and back, in Python and in TensorFlow. For training and inference.

Ids are T5's: 0 padding, 1 end, 2 unknown (`spec.token_ids`). A vocabulary is a sentencepiece model, or a tokenizer.json
with a Unigram model, which is made a sentencepiece model; files next to either may name added tokens.

  files            reading a file: its size first, then what it is
  table            Table: what text to ids and back needs to know
  model_file       sentencepiece models
  normalization    normalized text, as a sentencepiece model whose pieces are bytes
  tokenizer_json   tokenizer.json as a sentencepiece model
  added_tokens     the tokens that a table has in addition, sentinels among them
  python_text      text to ids and back in Python
  opening          Table of a file
  tensor_text      the same as TensorFlow operations
  choosing         which file a model is used with
  fit              whether a vocabulary is that of a model

Each file imports only files above it.
"""
