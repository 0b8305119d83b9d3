"""From a model's outputs to what they mean: codecs, search, sampling."""
