"""How alike in meaning are two sentences? 1 is the same, 0 is unrelated.

    similar.py "SENTENCE" "SENTENCE"
"""

import pathlib
import sys

from tokenizers import Tokenizer
from v2 import infer, tensor

INPUTS = pathlib.Path(__file__).parents[2] / "target/setup/inputs"
tokenizer = Tokenizer.from_file(str(INPUTS / "minilm-tokenizer.json"))
tokenizer.enable_padding()  # to the longer sentence

pair = tokenizer.encode_batch(sys.argv[1:3])
shape = [2, len(pair[0].ids)]
embeddings = infer(
    "minilm",
    tensor("input_ids", "INT64", shape, sum((sentence.ids for sentence in pair), [])),
    tensor("attention_mask", "INT64", shape, sum((sentence.attention_mask for sentence in pair), [])),
)["sentence_embedding"]

# The embeddings have length 1, so their product is the cosine of the angle between them.
half = len(embeddings) // 2
alike = sum(a * b for a, b in zip(embeddings[:half], embeddings[half:]))
print(f"these two sentences are {alike:.2f} alike")
