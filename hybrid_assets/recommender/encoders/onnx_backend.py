"""An encoder's transformer run by onnxruntime: the same vectors, faster on a CPU.

Belongs here: exporting the transformer and putting it in the place of torch's. Does not: tokenising and pooling, which
stay the encoder's own. Needs the extra `onnx` (onnx, onnxscript, onnxruntime); the extras of sentence-transformers 6.2
that do the same do not install beside transformers 5.23.
"""

import logging
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybrid_assets.recommender.encoders.weights import EncoderUnavailable

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def run_with_onnxruntime(encoder: "SentenceTransformer") -> None:
    """Let onnxruntime compute the token vectors of `encoder`, in float32 with torch's number of threads.

    The export takes some seconds, once for each loading.

    Raises:
        EncoderUnavailable: onnxruntime is not installed.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 (torch exports with it)
    except ImportError as error:
        raise EncoderUnavailable(
            f"backend onnxruntime needs {error.name}: pip install -c constraints.txt -e '.[onnx]', or set "
            "backend = 'torch'"
        ) from error
    import torch

    class TokenVectors(torch.nn.Module):
        """The transformer as a function of its inputs by position."""

        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            vectors: torch.Tensor = self.model(**dict(zip(names, inputs, strict=True))).last_hidden_state
            return vectors

    transformer: Any = encoder[0]
    model = transformer.model.eval()
    tokens = encoder.preprocess(["a text", "another text of more tokens"])
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in tokens]
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # what the exporter says is for its own developers
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            TokenVectors(model),
            tuple(tokens[name] for name in names),
            str(file),
            input_names=names,
            output_names=["token_vectors"],
            dynamic_shapes=(tuple(axes for _ in names),),  # one for *inputs
            dynamo=True,
            verbose=False,
        )
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def forward(**features: Any) -> dict[str, torch.Tensor]:
        fed = {name: features[name].numpy() for name in names}
        return {"last_hidden_state": torch.from_numpy(session.run(None, fed)[0])}

    model.forward = forward
