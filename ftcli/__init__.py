"""Fine-tune pretrained image classifiers from one YAML recipe."""

__version__ = "0.1.0"
