"""Installs switch_zoo: the package, the tasks (as switch_zoo.tasks) and the gin files (as switch_zoo.configs)."""

import pathlib

import setuptools

# The newest releases of these install together and then fail at import; see switch_zoo/tf_compat.py and
# README.md, "Versions". What is not pinned here is resolved by these pins.
REQUIREMENTS = [
  'tensorflow==2.15.1',  # the last release with Estimator and TPUEstimator, which Mesh-TensorFlow needs
  'tensorflow-text==2.15.0',  # compiled against tensorflow 2.15
  'mesh-tensorflow==0.1.21',
  't5==0.9.4',
  'gin-config==0.5.0',
  'tensorflow-datasets==4.9.3',  # later releases need a protobuf newer than tensorflow 2.15 accepts
  'tensorflow-metadata<1.16',  # the same
  'sentencepiece<0.2.1',  # 0.2.1 bundles a protobuf that clashes with tensorflow's in one process
  'setuptools<81',  # t5 and mesh-tensorflow import pkg_resources, which setuptools 81 removed
  'seqio-nightly>=0.0.18.dev20250227',
  'numpy>=1.26,<2',
  'ml_dtypes>=0.3',  # bfloat16 for NumPy
  'babel>=2.9',  # names of languages
  'scikit-learn>=1.0',  # F1 and its relatives
  'h5py>=3.8',  # Keras' files of weights
  'tensorstore',  # T5X checkpoints
  'typer>=0.12',
  'rich>=13',
  'matplotlib>=3.7',
  'starlette>=0.40',  # switch_zoo serve
  'uvicorn>=0.30,<1',  # the same; its protocol for h11 is built upon
  'h11>=0.14',
]

TEST_REQUIREMENTS = [
  'pytest>=8',
  'pytest-xdist>=3.6',  # the suite on two cores
  'hypothesis>=6',
  'ruff>=0.6',
  'httpx>=0.27',  # the clients of the tests of switch_zoo serve
  'safetensors>=0.8',  # the oracle for files of Hugging Face; switch_zoo reads and writes them itself
  'torch==2.13.0',  # the oracle for parity tests; an open range pulls several GB of CUDA
  'transformers>=5.23; python_version >= "3.11"',  # the first whose Switch router is right; it needs 3.11
]

setuptools.setup(
  name='switch-zoo',
  version='0.1.0',
  description='Switch Transformers and their relatives, from a laptop demo to 1.6 trillion parameters',
  long_description=pathlib.Path('README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.10,<3.12',
  # switch_zoo/tasks and switch_zoo/configs are links to tasks/ and gin/; gin/ has no __init__.py to be found by.
  packages=[*setuptools.find_packages(include=['switch_zoo', 'switch_zoo.*']), 'switch_zoo.configs'],
  package_data={'switch_zoo.configs': ['**/*.gin']},
  install_requires=REQUIREMENTS,
  extras_require={'test': TEST_REQUIREMENTS},
  entry_points={
    'console_scripts': [
      'switch_zoo = switch_zoo.cli:main',
      't5_mesh_transformer = switch_zoo.t5_mesh_transformer:console_entry_point',
    ]
  },
)
