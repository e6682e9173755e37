"""Text encoders: documents to unit vectors, and what fine-tunes an encoder.

weights.py -> encoding.py (onnx_backend.py) -> embeddings.py; contrastive_pairs.py -> tuning_data.py -> tuning.py ->
trainer.py, losses.py; encoder_metrics.py judges the space. weights, encoding, tuning, trainer and losses need neither
polars nor cornac, so that they run alone on a GPU machine. To add a loss, write it in losses.py, name it in
encoder_settings.py, and say in tuning_data.py which pairs it learns from.
"""
