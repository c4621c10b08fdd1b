"""Answers of an ONNX export, with onnxruntime, sentencepiece and NumPy; TensorFlow is not imported.

  tensor_names   names of the graphs' inputs and outputs
  beam_rules     two rules for a beam search: T5's and that of transformers
  processors     what changes the scores of the next token before it is chosen
  drawing        greedy tokens and samples
  settings       how an export answers, as options and as JSON
  text_ids       text to ids and back, and the files that say how
  folder         the files of an export, and what is wrong with others
  sessions       the two graphs in memory, and the caches of a decoding
  searching      greedy answers, samples and beam searches
  text_model     text in, text out

Each file imports only files above it.
"""
