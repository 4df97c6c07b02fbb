"""What type of content is this file?

    file_type.py FILE
"""

import json
import pathlib
import sys

from v2 import infer, tensor

INPUTS = pathlib.Path(__file__).parents[2] / "target/setup/inputs"
config = json.loads((INPUTS / "magika-config.json").read_bytes())
names = json.loads((INPUTS / "magika-content-types.json").read_bytes())

content = pathlib.Path(sys.argv[1]).read_bytes()
block, begin, end = config["block_size"], config["beg_size"], config["end_size"]
first, last = content[:block].lstrip()[:begin], content[-block:].rstrip()[-end:]
if len(first) < config["min_file_size_for_dl"]:
    sys.exit(f"{sys.argv[1]}: too short to tell")
padding = [config["padding_token"]]
features = [*first, *padding * (begin - len(first)), *padding * (end - len(last)), *last]

scores = infer("magika", tensor("bytes", "INT32", [1, begin + end], features))["target_label"]
score, label = max(zip(scores, config["target_labels_space"]))
print(f"this file is {names[label]['description']}, {score:.2f}")
