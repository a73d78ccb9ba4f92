"""`rather` trains language models to do what people would rather they did."""

__version__ = "0.1.0"
