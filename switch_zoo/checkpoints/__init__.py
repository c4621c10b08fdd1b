"""Weights in every format: Mesh-TensorFlow, Keras, Hugging Face, and T5X to read; exact, in bounded memory.

One expert's part of a variable is the largest thing in memory. The files, in the order in which a tensor meets them on
its way from one folder to another:

Files, as tensors by name and regions of bytes
  arrays                     types, shapes and regions of tensors; reading and writing a part of one
  file_checks                what a file must be before it is opened
  json_files                 JSON of bounded size and depth
  differences                how names and shapes differ from those expected, in words
  checksums                  our checksums for formats without
  file_checksums             the same for the files of an export
  crc32c                     checksums of TensorFlow's files
  sstable                    the table in a `.index` file
  protocol_buffer            the messages in that table
  tensor_bundle              Mesh-TensorFlow: `.index` and `.data-*`
  mesh_folder                the newest checkpoint of a folder that a training writes, and whether it is whole
  keras_datasets             how a variable must be stored in Keras' file
  keras_files                Keras: `model.weights.h5`
  safetensors_files          Hugging Face: `.safetensors`
  torch_pickle               the pickle in a `.bin` file, interpreted without calling or changing anything
  torch_archive              the zip archive that it is: members and their checksums
  torch_files                Hugging Face: `.bin`, as tensors
  t5x                        T5X: zarr arrays, in folders or in a database

Names, as places in a model
  names                      the table: each variable's name in every format
  huggingface_names          names that a wrapper made longer, tensors under another of their names
  huggingface_refusals       quantized weights, adapters, placeholders, models that write no text
  huggingface_missing        what is in a folder in place of weights
  huggingface                Hugging Face: all files of a folder together
  format_names               a class for each format: from variables to tensors, and back from names to places

A folder, as a model and its weights
  weights                    ModelWeights, and the parts they are read and written in
  anatomy                    a model's layers and sizes, from the names and shapes of its tensors
  model_gin                  the `model.gin` next to converted weights
  huggingface_config         config.json: what it says that tensors do not, and where it contradicts them
  huggingface_token_ids      config.json and generation_config.json: the special ids
  journal                    the record of a conversion in progress
  source                     an opened checkpoint; Mesh-TensorFlow, Keras and T5X
  huggingface_source         the same for Hugging Face
  sources                    which format a folder has, and opening it

On the way
  surgery                    some of the experts, a dense model's layers as experts, a dense twin

The new folder
  huggingface_config_writer  config.json, as it is written
  destination                a checkpoint to be written, part by part in any order
  destinations               a class for each format that can be written

All of it
  request_checks             what is asked for, and what can be wrong with it
  fingerprint                what must be the same for a conversion to be resumed
  parallel_parts             threads and the limit on memory
  conversion                 from the request to the final rename
  conversion_size            what a conversion takes, without doing it
  verify                     comparing two folders

Each file imports only files above it. Nothing here imports TensorFlow, Mesh-TensorFlow, T5, seqio or PyTorch, nor a
folder of switch_zoo other than `spec`; what a format needs in addition to NumPy (h5py, tensorstore) is imported when
such a folder is opened.
"""
