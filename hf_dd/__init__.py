"""hf_dd: dataset distillation guided by pre-trained models, on the Hugging Face Hub."""

__version__ = "0.1.0"
