import os
import sys

_, base = sys.argv[1:]
os.environ["HF_ENDPOINT"] = base + "/hub"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

from huggingface_hub import hf_hub_download

print(open(hf_hub_download("sandgate/sample", "config.json")).read())
